#!/bin/bash
# Every command that reads an image reads a snapshot of it as well, with the snapshot's own size, and leaves the file
# as it was.
set -euo pipefail
BYRE=${BYRE:?}
command -v qemu-img qemu-io >/dev/null || exit 77
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"

failures=0
complain() {
  echo "$*"
  failures=1
}
expect() { # text, command ...
  local wanted=$1
  shift
  local got
  got=$("$@" 2>&1) || true
  [[ $got == *"$wanted"* ]] || complain "$*: '$got', not '$wanted'"
}
expect_code() { # code, command ...
  local wanted=$1 code=0
  shift
  "$@" >/dev/null 2>&1 || code=$?
  ((code == wanted)) || complain "$*: exit $code, not $wanted"
}

qemu-img create -q -f raw base.raw 1M
qemu-io -f raw -c 'write -P 8 0 1M' base.raw >/dev/null
qemu-img create -q -f qcow2 -b base.raw -F raw d.qcow2 1M
qemu-io -c 'write -P 1 0 128k' d.qcow2 >/dev/null
qemu-img snapshot -c small d.qcow2
"$BYRE" convert -O raw d.qcow2 small.raw
qemu-io -c 'write -P 2 64k 512k' d.qcow2 >/dev/null
qemu-img resize -q d.qcow2 3M
qemu-img snapshot -c 1 d.qcow2 # its id is 2
qemu-io -c 'write -P 3 2M 64k' d.qcow2 >/dev/null
before=$(sha256sum d.qcow2)

expect 'Images are identical.' "$BYRE" compare -l small d.qcow2 small.raw
expect 'Images are identical.' "$BYRE" compare -L small small.raw d.qcow2
expect 'Content mismatch at offset 65536!' "$BYRE" compare -l small -L 2 d.qcow2 d.qcow2
expect 'Content mismatch at offset 2097152!' "$BYRE" compare -l snapshot.name=1 d.qcow2 d.qcow2
expect 'Content mismatch at offset 65536!' "$BYRE" compare -l snapshot.id=1 d.qcow2 d.qcow2
expect_code 2 "$BYRE" compare -l missing d.qcow2 d.qcow2
expect_code 2 "$BYRE" compare -L snapshot.nmae=small d.qcow2 d.qcow2
expect_code 2 "$BYRE" compare -L small d.qcow2 small.raw

"$BYRE" map --output=json --snapshot small d.qcow2 >small.map
[[ $(grep -c '"depth": 0' small.map) == 1 ]] || complain "map: $(cat small.map)"
[[ $(tail -1 small.map) == *'"start": 131072, "length": 917504, "depth": 1'* ]] || complain "map: $(cat small.map)"
expect_code 1 "$BYRE" map --snapshot missing d.qcow2

expect '1 MiB' "$BYRE" io -l small -c length d.qcow2
expect 'read 131072/131072' "$BYRE" io -l small -c 'read -P 1 0 128k' d.qcow2
expect 'read 917504/917504' "$BYRE" io -l small -c 'read -P 8 128k 896k' d.qcow2
expect_code 0 "$BYRE" io -l small -s -c 'write -P 7 0 64k' -c 'read -P 7 0 64k' -c 'read -P 1 64k 64k' d.qcow2
expect_code 1 "$BYRE" io -l small -c 'write -P 7 0 64k' d.qcow2

expect 'required size: 1048576' "$BYRE" measure -l small d.qcow2
expect 'required size: 3145728' "$BYRE" measure -l 2 d.qcow2

expect $'Offset          Length\n0x10000         0x80000\n524288 bytes differ in 1 ranges\nThe sizes differ: 1048576' \
  "$BYRE" snapshot --diff small 2 d.qcow2
expect $'0x200000        0x10000\n' "$BYRE" snapshot --diff 2 d.qcow2
expect $'0x200000        0x10000\n' "$BYRE" snapshot --diff '' 2 d.qcow2
expect '0 bytes differ in 0 ranges' "$BYRE" snapshot --diff '' d.qcow2
[[ -z $("$BYRE" snapshot -q --diff 2 d.qcow2) ]] || complain 'quiet, but not silent'
expect_code 1 "$BYRE" snapshot --diff missing d.qcow2
expect_code 1 "$BYRE" snapshot --diff 2 -l d.qcow2
expect_code 1 "$BYRE" snapshot --diff 1 2 d.qcow2 d.qcow2
expect_code 1 "$BYRE" snapshot -l 1 d.qcow2
expect 'a raw disk has no internal snapshots' "$BYRE" snapshot -f raw --diff '' small.raw

[[ $(sha256sum d.qcow2) == "$before" ]] || complain 'reading has changed the file'
# The reference leaves COPIED in the snapshot's own copy of the L1 table: that is no difference.
qemu-img snapshot -c now d.qcow2
expect '"compared": 0' "$BYRE" snapshot --json --diff now d.qcow2
exit $failures
