#!/bin/bash
# `io truncate` on qcow2 (docs/format.md section 18, C-33): after any change of size the other tools find the image
# clean, of that size, with the same content and zeros in what was added.
set -euo pipefail
BYRE=${BYRE:?}
command -v qemu-img qemu-io >/dev/null || exit 77
export LC_ALL=C

fail() {
  echo "$*"
  exit 1
}
size_of() { qemu-img info --output=json "$1" | sed -n 's/.*"virtual-size": \([0-9]*\).*/\1/p' | head -1; }
# check IMAGE SIZE MODEL LABEL: the model is a raw file that was given the same sizes.
check() {
  qemu-img check -q "$1" || fail "$4: not clean"
  [[ $(size_of "$1") == "$2" ]] || fail "$4: the size is $(size_of "$1"), not $2"
  qemu-img compare -q -f qcow2 -F raw "$1" "$3" || fail "$4: content differs"
}

# Sizes that need a longer L1 table, end inside a cluster, shrink over whole tables and to nothing.
for options in cluster_size=512 cluster_size=4k cluster_size=64k cluster_size=2M cluster_size=512,refcount_bits=64 \
  cluster_size=4k,compat=0.10 cluster_size=64k,refcount_bits=1; do
  "$BYRE" create -q -f qcow2 -o $options a.qcow2 3M
  rm -f a.raw
  truncate -s 3M a.raw
  for size in 5M 200M 1537k 1536k 70M 1000k 0 9M; do
    bytes=$(($(numfmt --from=iec "${size^^}")))
    "$BYRE" io -f qcow2 -c "truncate $size" a.qcow2
    truncate -s "$bytes" a.raw
    check a.qcow2 "$bytes" a.raw "$options to $size"
    if ((bytes == 0)); then continue; fi
    at=$((bytes - 1000 * 512)) && ((at >= 0)) || at=0
    "$BYRE" io -f qcow2 -c "write -P 7 $at 512000" -c 'write -P 9 0 100k' a.qcow2 >a.log
    qemu-io -f raw -c "write -P 7 $at 512000" -c 'write -P 9 0 100k' a.raw >a.log
    check a.qcow2 "$bytes" a.raw "$options, written at $size"
  done
done

# Above a longer backing file the new area reads as zeros, in version 2 as well.
head -c 4M /dev/urandom >base.raw
for compat in 0.10 1.1; do
  "$BYRE" create -q -f qcow2 -o compat=$compat -b base.raw -F raw over.qcow2 1000k
  "$BYRE" io -f qcow2 -c 'truncate 6M' over.qcow2
  head -c 1000k base.raw >over.raw
  truncate -s 6M over.raw
  check over.qcow2 $((6 << 20)) over.raw "overlay, compat=$compat"
  # Cut off and grown again: what was there does not come back.
  "$BYRE" io -f qcow2 -c 'write -P 5 0 6M' -c 'truncate 100k' -c 'truncate 6M' over.qcow2 >over.log
  truncate -s 0 over.raw
  head -c 100k /dev/zero | tr '\0' '\5' >over.raw
  truncate -s 6M over.raw
  check over.qcow2 $((6 << 20)) over.raw "overlay cut and grown, compat=$compat"
done

# Internal snapshots keep their content and size; version 2 refuses and changes nothing.
qemu-img create -q -f qcow2 snap.qcow2 2M
qemu-io -f qcow2 -c 'write -P 1 0 2M' snap.qcow2 >snap.log
qemu-img snapshot -c one snap.qcow2
"$BYRE" io -f qcow2 -c 'truncate 1M' -c 'write -P 2 0 1M' -c 'truncate 700M' -c 'read -P 0 1M 64k' snap.qcow2 >snap.log
qemu-img check -q snap.qcow2 || fail "with a snapshot: not clean"
qemu-img snapshot -a one snap.qcow2
qemu-io -f qcow2 -c 'read -P 1 0 2M' snap.qcow2 >snap.log || fail "the snapshot has changed"
[[ $(size_of snap.qcow2) == $((2 << 20)) ]] || fail "the snapshot's size has changed"
qemu-img create -q -f qcow2 -o compat=0.10 old.qcow2 2M
qemu-img snapshot -c one old.qcow2
before=$(sha256sum old.qcow2)
if "$BYRE" io -f qcow2 -c 'truncate 1M' old.qcow2 2>old.log; then fail "version 2 with a snapshot was resized"; fi
grep -q 'version 2' old.log || fail "version 2 with a snapshot: $(cat old.log)"
[[ $(sha256sum old.qcow2) == "$before" ]] || fail "version 2 with a snapshot was changed"

# Preallocation of what is added: everything has its place, as after creation.
for mode in metadata falloc full; do
  "$BYRE" create -q -f qcow2 -o cluster_size=4k pre.qcow2 100k
  "$BYRE" io -f qcow2 -c 'write -P 3 0 100k' -c "truncate -m $mode 5M" pre.qcow2 >pre.log
  head -c 100k /dev/zero | tr '\0' '\3' >pre.raw
  truncate -s 5M pre.raw
  check pre.qcow2 $((5 << 20)) pre.raw "preallocation=$mode"
  "$BYRE" io -r -f qcow2 -c map pre.qcow2 >map.log
  grep -q '^5 MiB (0x500000) bytes *allocated at offset 0 bytes' map.log || fail "preallocation=$mode: $(cat map.log)"
done
disk_size() { qemu-img info --output=json "$1" | sed -n 's/.*"actual-size": \([0-9]*\).*/\1/p' | head -1; }
(($(disk_size pre.qcow2) >= 5 << 20)) || fail "preallocation=full takes only $(disk_size pre.qcow2) bytes"

# What cannot be done is said, and done is nothing.
"$BYRE" create -q -f qcow2 no.qcow2 1M
before=$(sha256sum no.qcow2)
for words in 'truncate 1000' 'truncate 3P' 'truncate -m some 2M' 'truncate -m full 512k' 'truncate x'; do
  if "$BYRE" io -f qcow2 -c "$words" no.qcow2 >no.log 2>&1; then fail "'$words' succeeded"; fi
  [[ -s no.log ]] || fail "'$words' said nothing"
done
[[ $(sha256sum no.qcow2) == "$before" ]] || fail "a refused change of size has changed the image"
