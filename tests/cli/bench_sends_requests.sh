#!/bin/bash
# byre bench says what qemu-img bench says, but for the time, and its requests go where they are told to.
set -euo pipefail

fail() { echo "$*" >&2; exit 1; }

without_time() { sed -E 's/in [0-9.]+ seconds/in N seconds/'; }

qemu-img create -q -f qcow2 theirs.qcow2 1M
qemu-img create -q -f qcow2 ours.qcow2 1M
for flags in "-c 1000 -d 8" "-c 300 -s 64k" "-c 50 -S 8k -o 4k" "-w -c 100 -d 4 --pattern 7 --flush-interval 50" \
             "-w -c 100 -d 4 --pattern 0x9 --flush-interval 50 --no-drain" "-c 0" "-U -c 10" \
             "-i threads -c 10" "-i io_uring -c 10" "-t none -n -c 10" "-t writethrough -w -c 10"; do
  qemu-img bench -f qcow2 $flags theirs.qcow2 | without_time >theirs.txt
  "$BYRE" bench -f qcow2 $flags ours.qcow2 | without_time >ours.txt
  diff theirs.txt ours.txt || fail "$flags: another output"
done
qemu-img compare -q theirs.qcow2 ours.qcow2 || fail "the writes left different disks"
"$BYRE" check -q ours.qcow2

# holds COMMAND...: each "read -P" of places.qcow2 finds its pattern.
holds() {
  local read
  for read; do
    qemu-io -f qcow2 -c "$read" places.qcow2 >read.txt || fail "$read: $(cat read.txt)"
    if grep -q "verification failed" read.txt; then fail "$read: $(cat read.txt)"; fi
  done
}

# Where writes go: four, 16 KiB apart, from 8 KiB on; the rest stays.
"$BYRE" create -q -f qcow2 places.qcow2 64k
"$BYRE" bench -q -w -c 4 -d 3 -S 16k -o 8k --pattern 0xab places.qcow2
for at in 8 24 40 56; do
  holds "read -P 0xab ${at}k 4k" "read -P 0 $((at - 4))k 4k" "read -P 0 $((at - 8))k 4k"
done
# A request that would cross the end goes to the start.
"$BYRE" bench -q -w -c 3 -s 24k --pattern 1 places.qcow2
holds "read -P 1 0 48k" "read -P 0xab 56k 4k" "read -P 0 60k 4k"

# Reads change nothing; neither does what is refused, and it says why.
before=$(sha256sum <ours.qcow2)
[[ -z $("$BYRE" bench -q -c 1000 ours.qcow2) ]] || fail "-q is not quiet"
while IFS='|' read -r flags message; do
  status=0
  "$BYRE" bench $flags ours.qcow2 >/dev/null 2>error.txt || status=$?
  [[ $status == 1 ]] || fail "$flags: exit code $status"
  grep -q -- "$message" error.txt || fail "$flags: says $(cat error.txt)"
done <<'END'
-d 0|-d must be between
-s 0|-s must be between
-s 2G|-s must be between
--flush-interval 100|--flush-interval is for writes
-w -d 8 --flush-interval 4|must not be smaller than the depth
-o 1M|does not fit into 1048576 bytes
-s 2M|does not fit into 1048576 bytes
-i posix|must be threads, native or io_uring
--pattern 256|must be a byte
-w -U|sharing by force is for reading
END
[[ $before == "$(sha256sum <ours.qcow2)" ]] || fail "the image changed"

# A write that fails ends it: no room in a file system this small.
ulimit -f 2048
"$BYRE" create -q -f qcow2 full.qcow2 64M
status=0
(trap '' XFSZ; "$BYRE" bench -q -w -s 64k -c 1000 full.qcow2 2>error.txt) || status=$?
[[ $status == 1 ]] || fail "no space: exit code $status"
grep -q "full.qcow2" error.txt || fail "no space: says $(cat error.txt)"
"$BYRE" check -q full.qcow2 || [[ $? == 3 ]] || fail "no space: the image is not sound"

"$BYRE" bench --output=json -c 10 ours.qcow2 | python3 -c '
import json, sys
told = json.load(sys.stdin)
assert told["count"] == 10 and told["depth"] == 64 and told["request-size"] == 4096 and not told["write"]
assert told["seconds"] > 0 and told["requests-per-second"] > 0 and told["bytes-per-second"] > 0'
