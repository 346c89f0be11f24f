#!/bin/bash
# The same source and options give the same file, whatever finishes first: twenty runs with different -m, while other
# processes take the processors now and then.
set -euo pipefail
BYRE=${BYRE:?}

# Every kind of cluster, and of very different cost to compress.
truncate -s 12M source.raw
for i in {0..40}; do
  head -c $((i * 1000 + 300)) /dev/urandom
  { yes "line $i of a text" || true; } | head -c 100000
  head -c 70000 /dev/zero
done | dd of=source.raw bs=1M conv=notrunc status=none iflag=fullblock

load() {
  while :; do
    timeout 0.3 sha256sum /dev/zero || true
    sleep 0.2
  done
}
load &
first_load=$!
load &
trap 'kill $first_load $!' EXIT

# hash_of WORD...
hash_of() {
  rm -f made.qcow2
  "$BYRE" convert -q -f raw -O qcow2 "$@" source.raw made.qcow2
  sha256sum <made.qcow2
}

for options in "" "-S 0" "-o cluster_size=512" "-o cluster_size=4k,lazy_refcounts=on" "-c" "-c -o cluster_size=4k" \
  "-c --compression-level 4" "-c -o compression_type=zstd" "-c -o compression_type=zstd,cluster_size=4k"; do
  read -ra words <<<"$options"
  first=$(hash_of "${words[@]}" -m 1)
  for run in {1..19}; do
    requests=$((run * 7 % 16 + 1))
    again=$(hash_of "${words[@]}" -m $requests)
    if [[ $again != "$first" ]]; then
      echo "convert $options: -m $requests made another file than -m 1"
      exit 1
    fi
  done
done
