#!/bin/bash
# measure gives the numbers that qemu-img gives (docs/format.md C-17, C-18), for sizes, options and real images.
set -euo pipefail
command -v qemu-img qemu-io > /dev/null || exit 77
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"

same() {
  local theirs ours
  theirs=$(qemu-img measure "$@")
  ours=$("$BYRE" measure "$@")
  [[ $theirs == "$ours" ]] || { printf 'measure %s\nqemu-img: %s\nbyre: %s\n' "$*" "$theirs" "$ours" && exit 1; }
}

for size in 0 512 1000001 1G 5T; do
  same --size $size
  for options in cluster_size=64k cluster_size=2M refcount_bits=1 refcount_bits=64 compat=0.10 extended_l2=on \
    preallocation=metadata preallocation=falloc preallocation=full lazy_refcounts=on; do
    same -O qcow2 -o $options --size $size
  done
done
same -O qcow2 -o cluster_size=512 --size 100G

qemu-img create -q -f qcow2 image 64M
qemu-io -c 'write 100k 10k' -c 'write 10M 3M' -c 'write -z 20M 1M' -c 'write 63M 1M' image > /dev/null
qemu-img snapshot -c saved image
qemu-io -c 'write 30M 1M' image > /dev/null
qemu-img bitmap --add -g 512 image first
qemu-img bitmap --add image a_second_one
# Not with smaller clusters: Byre sees that the host file has holes inside the source's clusters.
for options in cluster_size=64k cluster_size=2M compat=0.10; do
  same -O qcow2 -o $options image
done
same -O raw image
same -O qcow2 -l saved image
qemu-img create -q -f qcow2 -b image -F qcow2 overlay 128M
qemu-io -c 'write 100M 1M' overlay > /dev/null
same -O qcow2 overlay
# On a backing file a copy may need every cluster, an empty disk needs none.
same -O qcow2 -o backing_file=image,backing_fmt=qcow2 --size 128M
same -O qcow2 -o backing_file=image,backing_fmt=qcow2 overlay

# JSON holds the same numbers.
json=$("$BYRE" measure --output=json -O qcow2 --size 1G | tr -d ' \n')
[[ $json == '{"required":393216,"fully-allocated":1074135040}' ]]
for wrong in "--size 1G image" "" "-O qcow2 -l saved --size 1G" "-O qcow2 -o size=1G --size 1G" "-O vmdk --size 1G"; do
  # shellcheck disable=SC2086
  if "$BYRE" measure $wrong > /dev/null 2>&1; then echo "accepted: measure $wrong" && exit 1; fi
done
