#!/bin/bash
# guestfish and virt-sparsify make, read and change images through the link qemu-img.
set -euo pipefail
. "$(dirname "$(realpath "$0")")/lib/appliance.sh" guestfish virt-sparsify

qemu-img convert -f raw -O qcow2 disk.raw base.qcow2
cp base.qcow2 base.before
# The data disk below it is added read-only, which takes an overlay.
guestfish >said <<'END'
disk-create full.qcow2 qcow2 20M preallocation:metadata compat:0.10 clustersize:4096
disk-create full.raw raw 3M preallocation:full
disk-format full.qcow2
disk-virtual-size full.qcow2
disk-has-backing-file full.qcow2
disk-create top.qcow2 qcow2 -1 backingfile:base.qcow2 backingformat:qcow2
disk-format top.qcow2
disk-virtual-size top.qcow2
disk-has-backing-file top.qcow2
add top.qcow2 format:qcow2 discard:enable
add disk.raw format:raw readonly:true
run
mount-options discard /dev/sda1 /
cat /etc/hostname
write /etc/hostname "after\n"
write /new "a new file\n"
fill 65 10000000 /ballast
rm /ballast
fstrim /
umount /
mount-ro /dev/sdb1 /
cat /etc/hostname
END
expected="qcow2 20971520 false qcow2 42991616 true before before"
[[ $(grep . said | xargs) == "$expected" ]] || fail "said: $(cat said)"
[[ $(file_on top.qcow2 /etc/hostname) == after ]] || fail "what was changed"
[[ $(file_on top.qcow2 /new) == "a new file" ]] || fail "what was written"
cmp base.qcow2 base.before
sound base.qcow2 top.qcow2 full.qcow2
for pattern in 'create -f qcow2 -o preallocation=metadata,compat=0.10,cluster_size=4096 .*full.qcow2 20971520' \
  'info -U --output json .*full.qcow2' 'create .*backing_file=base.qcow2,backing_fmt=qcow2.* .*top.qcow2' \
  'create -f qcow2 -o backing_file=.*disk.raw,backing_fmt=raw'; do
  called "^qemu-img $pattern"
done

# Freed by deleting, not by trimming, so that there is something to find.
qemu-img convert -f qcow2 -O qcow2 top.qcow2 sparse.qcow2
size_before=$(stat -c %b sparse.qcow2)
qemu-io -c 'write -q -P 65 30M 8M' sparse.qcow2  # where no file is
virt-sparsify -q --in-place sparse.qcow2
size_after=$(stat -c %b sparse.qcow2)
((512 * size_after < 512 * size_before + (1 << 20))) || fail "in place: from $size_before to $size_after blocks"
[[ $(file_on sparse.qcow2 /new) == "a new file" ]] || fail "in place: what was written"
sound sparse.qcow2
