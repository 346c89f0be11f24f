#!/bin/bash
# check --backing-chain: each layer by itself, the worst exit code, nothing changed, nothing followed that is forbidden.
set -euo pipefail

fail() { echo "FAILED: $*"; exit 1; }
expect() { # exit code, then the command
  local wanted=$1 got=0
  shift
  "$@" >out 2>err || got=$?
  [[ $got == "$wanted" ]] || { cat out err; fail "$* exits with $got, not $wanted"; }
}

truncate -s 1M base.raw
"$BYRE" create -q -f qcow2 -b base.raw -F raw middle.qcow2
"$BYRE" create -q -f qcow2 -b middle.qcow2 -F qcow2 top.qcow2
"$BYRE" io -f qcow2 -c 'write -q 0 128k' middle.qcow2
expect 0 "$BYRE" check --backing-chain top.qcow2
grep -q '^middle.qcow2:$' out || fail "the middle layer is not named"
grep -q 'Raw images have no check' out || fail "the raw layer is not mentioned"
expect 0 "$BYRE" check --backing-chain --output=json top.qcow2
[[ $(grep -c '"filename"' out) == 2 ]] || fail "JSON has not the two layers that can be checked"

# A count of 0 in the middle: corruption; a leak in the top beside it changes nothing about that.
printf '\0' | dd of=middle.qcow2 bs=1 seek=$((0x20000 + 2 * 5 + 1)) conv=notrunc status=none
sum=$(sha256sum top.qcow2 middle.qcow2 base.raw)
expect 2 "$BYRE" check --backing-chain top.qcow2
expect 0 "$BYRE" check top.qcow2
expect 1 "$BYRE" check --backing-chain -r all top.qcow2
expect 0 "$BYRE" check --backing-chain --no-backing top.qcow2
[[ $(sha256sum top.qcow2 middle.qcow2 base.raw) == "$sum" ]] || fail "a check has changed a file"
