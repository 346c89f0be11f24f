#!/bin/bash
# docs/format.md C-19, C-20: output and exit code of compare are those of qemu-img, for every pair of a set of images.
set -euo pipefail
BYRE=${BYRE:?}
command -v qemu-img qemu-io >/dev/null || exit 77
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"

failures=0
# same ARGUMENT...
same() {
  local reference_code=0 our_code=0 reference ours
  reference=$(qemu-img compare "$@" 2>/dev/null) || reference_code=$?
  ours=$("$BYRE" compare "$@" 2>/dev/null) || our_code=$?
  [[ $reference == "$ours" && $reference_code == "$our_code" ]] && return
  echo "compare $*: '$ours' and exit code $our_code, expected '$reference' and $reference_code"
  failures=1
}
io() { qemu-io "$@" >/dev/null; }
raw_bytes() { printf '%s' "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }

truncate -s 1M empty.raw
truncate -s 2M long.raw
cp long.raw long-data.raw
raw_bytes long-data.raw 1500000 x
cp empty.raw data.raw
raw_bytes data.raw 70001 x
cp data.raw late.raw
raw_bytes late.raw 1000000 x
truncate -s 1000 odd.raw
truncate -s 1024 even.raw
raw_bytes even.raw 1010 x
head -c 1M /dev/urandom >random.raw
cp random.raw random2.raw
raw_bytes random2.raw 700000 xyzxyz
: >nothing.raw
for name in empty zero reserved data compressed; do qemu-img create -q -f qcow2 $name.qcow2 1M; done
io -c 'write -z 64k 64k' zero.qcow2
io -c 'write 64k 64k' -c 'write -z 64k 64k' reserved.qcow2
io -c 'write -P 0 0 64k' -c 'write -P 120 70001 1' data.qcow2
io -c 'write -c -P 0 64k 64k' compressed.qcow2
qemu-img create -q -f qcow2 -b data.qcow2 -F qcow2 overlay.qcow2
qemu-img create -q -f qcow2 -b data.raw -F raw grown.qcow2 3M
qemu-img convert -O qcow2 random.raw random.qcow2

images=(*.raw *.qcow2)
for first in "${images[@]}"; do
  for second in "${images[@]}"; do
    same -f "${first##*.}" -F "${second##*.}" "$first" "$second"
  done
done

# Strict mode. Where the reference reports the start of a stretch that merely is longer on one side, we report where the
# status differs, so only the exit codes and the offsets of like layouts are compared.
for pair in 'empty.qcow2 empty.qcow2' 'zero.qcow2 reserved.qcow2' 'data.qcow2 overlay.qcow2' 'empty.raw long.raw' \
  'odd.raw even.raw' 'random.raw random2.raw' 'zero.qcow2 compressed.qcow2'; do
  read -r first second <<<"$pair"
  same -s -f "${first##*.}" -F "${second##*.}" "$first" "$second"
done
for first in *.qcow2; do
  for second in *.qcow2; do
    reference_code=0 our_code=0
    qemu-img compare -q -s "$first" "$second" || reference_code=$?
    "$BYRE" compare -q -s "$first" "$second" || our_code=$?
    ((reference_code == our_code)) && continue
    echo "compare -s $first $second: exit code $our_code, expected $reference_code"
    failures=1
  done
done

same -q -f raw -F raw empty.raw data.raw
same empty.qcow2 no-such-file
same no-such-file empty.qcow2
same -f qcow2 -F qcow2 empty.qcow2 empty.raw

# exits CODE ARGUMENT...
exits() {
  local wanted=$1 code=0
  shift
  "$BYRE" compare "$@" >/dev/null 2>&1 || code=$?
  ((code == wanted)) && return
  echo "compare $*: exit code $code, expected $wanted"
  failures=1
}
# A wrong command line is no difference.
exits 2 empty.qcow2
exits 2 -f vmdk empty.qcow2 empty.qcow2
exits 2 --no-such-option empty.qcow2 empty.qcow2

# An L2 table that lies outside the file: no status. A compressed cluster that is none: no data.
cp data.qcow2 broken.qcow2
l1=$((0x$(od -An -tx1 -j40 -N8 data.qcow2 | tr -d " ")))
printf '\x80\x7f\xff\xff\xff\xff\x00\x00' | dd of=broken.qcow2 bs=1 seek=$l1 conv=notrunc status=none
exits 3 -f raw -F qcow2 random.raw broken.qcow2
cp compressed.qcow2 broken.qcow2
truncate -s $((5 << 16)) broken.qcow2
head -c 512 /dev/zero | tr '\0' '\377' | dd of=broken.qcow2 bs=64k seek=5 conv=notrunc status=none
exits 4 -f raw -F qcow2 empty.raw broken.qcow2
exits 1 -f raw -F qcow2 random.raw broken.qcow2 # the difference in front comes first
exit "$failures"
