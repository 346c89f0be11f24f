#!/bin/bash
# A block device takes the place of a file: create, convert to it (-n too) and from it, at the size it has.
set -euo pipefail
BYRE=${BYRE:?}
command -v losetup qemu-img >/dev/null || exit 77
directory=$(mktemp -d)
device=
trap '[[ -z $device ]] || losetup -d "$device"; rm -rf "$directory"' EXIT
cd "$directory"
truncate -s 8M store
device=$(losetup --find --show store 2>/dev/null) || exit 77

head -c 3M /dev/urandom >source.raw
truncate -s 4M source.raw
"$BYRE" convert -f raw -O qcow2 source.raw source.qcow2

# qcow2 on a device that held something else.
head -c 8M /dev/urandom | dd of="$device" bs=1M status=none
"$BYRE" create -f qcow2 "$device" 4M >output
grep -qF "Formatting '$device', fmt=qcow2" output
qemu-img check -q -f qcow2 "$device"
"$BYRE" io -f qcow2 -c 'read -P 0 0 4M' -c 'write -P 7 1M 64k' -c 'read -P 7 1M 64k' "$device" >output
"$BYRE" convert -f raw -O qcow2 source.raw "$device"
qemu-img check -q -f qcow2 "$device"
qemu-img compare -q -f raw -F qcow2 source.raw "$device"
"$BYRE" convert -n -f raw -O qcow2 source.raw "$device"
qemu-img check -q -f qcow2 "$device"
"$BYRE" convert -f qcow2 -O raw "$device" back.raw
cmp source.raw back.raw
"$BYRE" info --output=json "$device" | grep -q '"virtual-size": 4194304'

# raw: what the device held before must not show where the source has zeros.
for flags in '' '-n'; do
  head -c 8M /dev/urandom | dd of="$device" bs=1M status=none
  "$BYRE" convert $flags -f qcow2 -O raw source.qcow2 "$device"
  cmp -n 4194304 source.raw "$device"
done
"$BYRE" convert -f raw -O qcow2 "$device" whole.qcow2
qemu-img compare -q -f raw -F qcow2 "$device" whole.qcow2
[[ $(stat -c %s store) == 8388608 ]]

# Too small: refused by size, and the device keeps its bytes.
before=$(sha256sum <"$device")
"$BYRE" create -q -f qcow2 large.qcow2 16M
for command in "create -f raw $device 16M" "convert -n -f qcow2 -O raw large.qcow2 $device" \
  "convert -f qcow2 -O raw large.qcow2 $device"; do
  ! "$BYRE" $command >output 2>error || { echo "accepted: $command" && exit 1; }
  [[ $(sha256sum <"$device") == "$before" ]] || { echo "changed: $command" && exit 1; }
done
