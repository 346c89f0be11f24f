#!/bin/bash
# format.md Appendix C, both ways: an image that one tool holds open for writing is refused by the other, with a message
# that says how to go on; sharing by force (-U) reads it anyway; readers share.
set -euo pipefail
BYRE=${BYRE:?}
command -v qemu-img qemu-io >/dev/null || exit 77
directory=$(mktemp -d)
holder=
stop_holder() {
  [[ -z $holder ]] || kill "$holder" 2>/dev/null || true
  wait 2>/dev/null || true
  holder=
}
trap 'stop_holder; rm -rf "$directory"' EXIT
cd "$directory"
qemu-img create -q -f qcow2 disk.qcow2 1M
qemu-io -c 'write -P 3 0 64k' disk.qcow2 >/dev/null
truncate -s 64k other.raw

failures=0
complain() {
  echo "$*"
  failures=1
}
# hold COMMAND... : runs it in the background until it has printed something.
hold() {
  : >held
  "$@" >held 2>&1 &
  holder=$!
  for _ in {1..500}; do
    [[ -s held ]] && return
    sleep 0.02
  done
  complain "$*: never got started"
}
# refused PATTERN COMMAND...
refused() {
  local pattern=$1 code=0 output
  shift
  output=$("$@" 2>&1) || code=$?
  ((code == 1 || code == 2)) || complain "$*: exit code $code"
  grep -q -- "$pattern" <<<"$output" || complain "$*: $output"
}

# The reference writes.
hold stdbuf -oL qemu-io -c length -c 'sleep 20000' disk.qcow2
refused 'for writing' "$BYRE" io -c length disk.qcow2
refused '-U/--force-share' "$BYRE" io -r -c length disk.qcow2
refused '-U/--force-share' "$BYRE" convert -O raw disk.qcow2 copy.raw
refused '-U/--force-share' "$BYRE" compare disk.qcow2 disk.qcow2
refused 'for writing' "$BYRE" convert -n -f raw -O qcow2 other.raw disk.qcow2
[[ ! -e copy.raw ]] || complain 'a refused conversion left its target'
"$BYRE" io -r -U -c 'read -q -P 3 0 64k' disk.qcow2 || complain '-U does not read'
"$BYRE" convert -U -O raw disk.qcow2 copy.raw || complain '-U does not convert'
"$BYRE" io -U -c length disk.qcow2 2>/dev/null && complain '-U opened for writing'
stop_holder

# Byre writes.
hold "$BYRE" io -c length -c 'sleep 20000' disk.qcow2
refused 'Failed to get' qemu-io -c length disk.qcow2
refused 'Failed to get' qemu-img info disk.qcow2
refused 'for writing' "$BYRE" io -c length disk.qcow2
qemu-img info -U disk.qcow2 >/dev/null || complain 'the reference cannot share by force'
stop_holder

# Readers share with readers and keep writers out.
hold "$BYRE" io -r -c length -c 'sleep 20000' disk.qcow2
qemu-io -r -c length disk.qcow2 >/dev/null || complain 'the reference cannot read beside a reader'
"$BYRE" io -r -c length disk.qcow2 >/dev/null || complain 'Byre cannot read beside a reader'
refused 'Failed to get' qemu-io -c length disk.qcow2
refused 'has it open' "$BYRE" io -c length disk.qcow2
stop_holder
hold stdbuf -oL qemu-io -r -c length -c 'sleep 20000' disk.qcow2
"$BYRE" io -r -c length disk.qcow2 >/dev/null || complain 'Byre cannot read beside the reference'
refused 'has it open' "$BYRE" io -c length disk.qcow2
stop_holder

# Nothing stays behind when the holder is gone.
"$BYRE" io -c 'write -q 0 5' disk.qcow2 || complain 'a lock outlived its holder'
qemu-io -c 'write 0 5' disk.qcow2 >/dev/null || complain 'a lock outlived its holder'
exit "$failures"
