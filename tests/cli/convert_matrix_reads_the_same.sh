#!/bin/bash
# docs/format.md C-26: whatever the formats and options, the target reads as the source did, in the eyes of another
# implementation, and a qcow2 target is clean.
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
# verify TARGET FORMAT SOURCE SOURCE_FORMAT LABEL
verify() {
  qemu-img compare -q -f "$2" -F "$4" "$1" "$3" || complain "$5: content differs"
  if [[ $2 == qcow2 ]]; then qemu-img check -q -f qcow2 "$1" || complain "$5: not clean"; fi
}

# Data, holes, stored zeros, compressible and random parts, and an end inside a cluster of every size.
truncate -s 5001216 source.raw
head -c 300000 /dev/urandom | dd of=source.raw bs=64k seek=70001 conv=notrunc status=none \
  oflag=seek_bytes iflag=fullblock
head -c 700000 /dev/zero | dd of=source.raw bs=64k seek=1M conv=notrunc status=none oflag=seek_bytes iflag=fullblock
{ yes 'some text that compresses' || true; } | head -c 900000 |
  dd of=source.raw bs=64k seek=2500000 conv=notrunc status=none oflag=seek_bytes iflag=fullblock
head -c 700 /dev/urandom | dd of=source.raw bs=700 seek=5000500 conv=notrunc status=none oflag=seek_bytes

for cluster in 512 4k 64k 2M; do
  "$BYRE" convert -f raw -O qcow2 -o cluster_size=$cluster source.raw plain.qcow2
  verify plain.qcow2 qcow2 source.raw raw "raw to qcow2, clusters of $cluster"
  for type in zlib zstd; do
    "$BYRE" convert -c -O qcow2 -o cluster_size=$cluster,compression_type=$type plain.qcow2 packed.qcow2
    verify packed.qcow2 qcow2 source.raw raw "qcow2 to compressed $type, clusters of $cluster"
  done
  "$BYRE" convert -f qcow2 -O raw packed.qcow2 back.raw
  cmp -s back.raw source.raw || complain "compressed qcow2 to raw, clusters of $cluster: content differs"
done

"$BYRE" convert -f raw -O qcow2 source.raw plain.qcow2
for options in '-S 0' '-S 512' '-S 64k' '-S 1M' '-m 1' '-m 16' '-W' '-W -m 3' '-c -S 0' '-c -W' '-T none -t none' \
  '-t writethrough' '-o compat=0.10' '-o refcount_bits=1' '-o lazy_refcounts=on' '-o preallocation=full'; do
  rm -f target.qcow2
  # shellcheck disable=SC2086
  if ! "$BYRE" convert $options -O qcow2 plain.qcow2 target.qcow2 2>error; then
    # Not every file system has direct I/O; where there is none, the tool says so.
    [[ $options == *none* ]] && grep -q 'direct I/O' error || complain "$options: $(cat error)"
    continue
  fi
  verify target.qcow2 qcow2 source.raw raw "$options"
done
for options in '-S 0' '-S 512' '-S 64k' '-m 1' '-W'; do
  # shellcheck disable=SC2086
  "$BYRE" convert $options -f qcow2 -O raw plain.qcow2 target.raw
  cmp -s target.raw source.raw || complain "to raw with $options: content differs"
done

# -S 0 stores everything; without it holes stay holes.
"$BYRE" convert -S 0 -f raw -O qcow2 source.raw full.qcow2
qemu-img map --output=json full.qcow2 | grep -q '"present": false' && complain '-S 0 left something out'
"$BYRE" convert -f raw -O raw source.raw sparse.raw
(($(stat -c %b sparse.raw) * 512 < 2500000)) || complain 'raw to raw stored the zeros'

# Existing targets: what they held is gone, with zeros written where the source has them, and nothing else changed.
for cluster in 4k 64k; do
  qemu-img create -q -f qcow2 -o cluster_size=$cluster,lazy_refcounts=on used.qcow2 8M
  qemu-io -c 'write -P 0xee 0 8M' used.qcow2 >/dev/null
  "$BYRE" convert -n -f raw -O qcow2 source.raw used.qcow2
  qemu-img check -q used.qcow2 || complain "-n: not clean"
  qemu-io -c 'read -P 0xee 5120k 3072k' used.qcow2 | grep -q failed && complain '-n: wrote behind the source'
  qemu-img info used.qcow2 | grep -q 'lazy refcounts: true' || complain '-n: options were lost'
  "$BYRE" convert -O raw used.qcow2 used.raw
  truncate -s 5001216 used.raw
  cmp -s used.raw source.raw || complain '-n: content differs'
done
{ yes x || true; } | head -c 6000000 >used.raw
"$BYRE" convert -n -f raw -O raw source.raw used.raw
cmp -s -n 5001216 used.raw source.raw || complain '-n to raw: content differs'
truncate -s 5001216 zero.raw
"$BYRE" convert -n --target-is-zero -f raw -O raw source.raw zero.raw
cmp -s zero.raw source.raw || complain '--target-is-zero: content differs'
qemu-img create -q -f qcow2 zero.qcow2 5001216
"$BYRE" convert -n --target-is-zero -f raw -O qcow2 source.raw zero.qcow2
verify zero.qcow2 qcow2 source.raw raw '--target-is-zero to qcow2'

# Several sources, one behind the other.
truncate -s 1000 short.raw
printf 'end' | dd of=short.raw bs=1 seek=997 conv=notrunc status=none
"$BYRE" convert -f raw -O raw short.raw source.raw short.raw joined.raw
{
  cat short.raw
  head -c 24 /dev/zero
  cat source.raw short.raw
  head -c 24 /dev/zero
} >expected.raw
cmp joined.raw expected.raw || complain 'concatenation differs'
"$BYRE" convert -f raw -O qcow2 short.raw source.raw short.raw joined.qcow2
verify joined.qcow2 qcow2 expected.raw raw 'concatenation to qcow2'

# An empty disk.
: >empty.raw
"$BYRE" convert -f raw -O qcow2 empty.raw empty.qcow2
verify empty.qcow2 qcow2 empty.raw raw 'empty'
exit "$failures"
