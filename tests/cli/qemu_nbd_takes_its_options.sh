#!/bin/bash
# Through a link called qemu-nbd: that tool's options, with both tools on the same command lines where they end at once.
set -euo pipefail
for tool in qemu-nbd nbdinfo nbdcopy qemu-io; do command -v "$tool" >/dev/null || exit 77; done
directory=$(mktemp -d)
server=
trap '[[ -z $server ]] || kill "$server" 2>/dev/null; rm -rf "$directory"' EXIT
cd "$directory"
mkdir ours
ln -s "$(realpath "${BYRE:?}")" ours/qemu-nbd
"$BYRE" create -q -f qcow2 disk.qcow2 32M
"$BYRE" io -c 'write -q -P 7 1M 3M' disk.qcow2
uri="nbd+unix:///?socket=$directory/s"
fail() { echo "$*" && exit 1; }

# Nothing that is refused may serve: both end, with 1, an empty standard output, and their name before what they say.
while IFS= read -r line; do
  read -ra words <<<"$line"
  for tool in ours/qemu-nbd qemu-nbd; do
    code=0
    timeout 10 "$tool" "${words[@]}" >out 2>err </dev/null || code=$?
    ((code == 1)) || fail "$tool $line: exit code $code: $(cat err)"
    [[ ! -s out ]] || fail "$tool $line: printed $(cat out)"
    grep -q '^qemu-nbd: ' err || fail "$tool $line: said $(cat err)"
  done
done <<'LINES'
disk.qcow2 another
nothere.qcow2
-e -1 disk.qcow2
-e x disk.qcow2
-d /dev/nbd0
-L -k /nowhere/socket
-L disk.qcow2
-o 1G disk.qcow2
--cache=sometimes disk.qcow2
-n --cache=none disk.qcow2
--aio=slow disk.qcow2
--discard=perhaps disk.qcow2
--detect-zeroes=unmap disk.qcow2
-B marks disk.qcow2
-l nosuch disk.qcow2
--tls-creds=nobody disk.qcow2
-f unheard disk.qcow2
--image-opts -f qcow2 driver=qcow2,file.filename=disk.qcow2
--zork disk.qcow2
LINES

# serve WORDS...: in the background, until the test stops it.
serve() {
  [[ -z $server ]] || { kill "$server" && tail --pid="$server" -f /dev/null; }
  ours/qemu-nbd -k "$directory/s" -t --fork --pid-file=pid "$@" >out 2>err || fail "$*: $(cat err)"
  [[ ! -s out && ! -s err ]] || fail "$*: said $(cat out err)"
  server=$(cat pid)
}

serve -x boot -D 'a disk' -e 0 disk.qcow2
nbdinfo --json "nbd+unix:///boot?socket=$directory/s" >info
grep -q '"export-size": 33554432' info && grep -q '"description": "a disk"' info || fail "$(cat info)"

# What is written with -s is there for clients, and gone afterwards.
before=$(sha256sum <disk.qcow2)
serve -s -A disk.qcow2
qemu-io -f raw -c 'write -q -P 9 0 2M' -c 'read -q -P 9 0 2M' -c 'read -q -P 7 3M 1M' "$uri"
kill "$server" && tail --pid="$server" -f /dev/null
server=
[[ $(sha256sum <disk.qcow2) == "$before" ]] || fail 'the image below -s has changed'
[[ -z $(find "${TMPDIR:-/var/tmp}" -maxdepth 1 -name 'byre-??????' -newer ours) ]] || fail 'the changes have a name'

# Trimming is ignored unless --discard says otherwise; zeros are found where it is asked for.
serve disk.qcow2
qemu-io -f raw -d unmap -c 'discard -q 1M 3M' "$uri"
serve --discard=unmap --detect-zeroes=unmap --image-opts driver=qcow2,file.filename=disk.qcow2
kept=$(nbdinfo --map "$uri" | grep -c data || true)
((kept == 1)) || fail "trimmed although --discard is ignore: $(nbdinfo --map "$uri")"
qemu-io -f raw -c 'write -q -P 0 1M 3M' "$uri"
kept=$(nbdinfo --map "$uri" | grep -c data || true)
((kept == 0)) || fail "zeros stayed data: $(nbdinfo --map "$uri")"

serve -r -o 1M disk.qcow2
[[ $(nbdinfo --size "$uri") == $((31 << 20)) ]] || fail "-o: $(nbdinfo --size "$uri")"
nbdinfo --is read-only "$uri" || fail '-r: can be written'
serve -p 1 disk.qcow2 # -k goes before -p
nbdinfo --size "$uri" >/dev/null
kill "$server" && tail --pid="$server" -f /dev/null
server=
qemu-img check -q disk.qcow2
