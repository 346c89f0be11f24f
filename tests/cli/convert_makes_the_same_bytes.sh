#!/bin/bash
# The same source and options give the same file, whatever finishes first: -m and the machine's load change nothing.
# Deflate is left out: places are taken in the same order, but ISA-L now and then finds other matches in the same input.
set -euo pipefail
BYRE=${BYRE:?}

# Every kind of cluster, and of very different cost to compress.
truncate -s 24M source.raw
for i in {0..80}; do
  head -c $((i * 1000 + 300)) /dev/urandom
  { yes "line $i of a text" || true; } | head -c 100000
  head -c 70000 /dev/zero
done | dd of=source.raw bs=1M conv=notrunc status=none iflag=fullblock

for options in "" "-o cluster_size=512" "-o cluster_size=4k,lazy_refcounts=on" "-c -o compression_type=zstd" \
  "-c -o compression_type=zstd,cluster_size=4k" "-S 0"; do
  # shellcheck disable=SC2086
  "$BYRE" convert -q -f raw -O qcow2 $options -m 1 source.raw first.qcow2
  for requests in 2 8 8 8 16; do
    # shellcheck disable=SC2086
    "$BYRE" convert -q -f raw -O qcow2 $options -m $requests source.raw again.qcow2
    if ! cmp first.qcow2 again.qcow2; then
      echo "convert $options: -m $requests made another file than -m 1"
      exit 1
    fi
  done
done
