#!/bin/bash
# Every image that create makes is clean in the eyes of another implementation: no errors, no leaks.
set -euo pipefail
command -v qemu-img > /dev/null || exit 77
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"

failures=0
checked=0
expect_clean() { # options size
  "$BYRE" create -q -f qcow2 -o "$1" image "$2"
  local verdict
  verdict=$(qemu-img check --output=json image 2>&1) || true
  # Clean images carry neither of the keys "corruptions" and "leaks".
  if ! grep -q '"check-errors": 0' <<< "$verdict" || grep -qE '"(corruptions|leaks)"' <<< "$verdict"; then
    echo "not clean: -o $1 $2: $verdict"
    failures=$((failures + 1))
  fi
  checked=$((checked + 1))
}

sizes=(512 1k 2k 4k 8k 16k 32k 64k 128k 256k 512k 1M 2M)
for cluster in "${sizes[@]}"; do
  for size in 0 512 1049088; do
    for mode in metadata falloc full; do
      expect_clean "cluster_size=$cluster,preallocation=$mode" $size
    done
    expect_clean "cluster_size=$cluster,compat=0.10" $size
  done
  expect_clean "cluster_size=$cluster" 64G
done
for bits in 1 2 4 8 16 32 64; do
  for cluster in 512 64k 2M; do
    expect_clean "cluster_size=$cluster,refcount_bits=$bits,preallocation=metadata" 9M
    expect_clean "cluster_size=$cluster,refcount_bits=$bits" 128G
  done
done
expect_clean "compat=0.10,preallocation=metadata" 9M
expect_clean "preallocation=metadata,cluster_size=2M" 1T
expect_clean "cluster_size=64k" 1T
echo "$checked images checked"
((failures == 0))
