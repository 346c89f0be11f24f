#!/bin/bash
# The slower of libguestfs's tools, through the link qemu-img: each starts its appliance several times.
set -euo pipefail
. "$(dirname "$(realpath "$0")")/lib/appliance.sh" \
  guestfish virt-diff virt-resize virt-sparsify virt-make-fs virt-inspector

qemu-img convert -f raw -O qcow2 disk.raw base.qcow2
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2
cp base.qcow2 base.before

virt-make-fs --format=qcow2 --type=ext4 --size=+20M tree made.qcow2
sound made.qcow2
called '^qemu-img create -f qcow2 -o preallocation=metadata .*made.qcow2'
"$REFERENCE" convert -f qcow2 -O raw made.qcow2 made.raw
e2fsck -fn made.raw >/dev/null 2>&1 || fail "virt-make-fs: not a clean file system"
[[ $(debugfs -R 'cat /etc/hostname' made.raw 2>/dev/null) == before ]] || fail "virt-make-fs: what is in it"

guestfish -a top.qcow2 -m /dev/sda1 write /etc/hostname after
virt-diff -a base.qcow2 -A top.qcow2 >differences
grep -qx -- '-before' differences && grep -qx -- '+after' differences || fail "virt-diff: $(cat differences)"
virt-inspector -a top.qcow2 | grep -q '<hostname>after</hostname>' || fail virt-inspector

# A copy, compressed, of what is in use; it goes through an overlay.
qemu-io -c 'write -q -P 65 30M 8M' top.qcow2
virt-sparsify -q --compress --convert qcow2 --tmp "$PWD" top.qcow2 sparse.qcow2
called '^qemu-img create -f qcow2 -o backing_file=.*top.qcow2,backing_fmt=qcow2,compat=1.1'
called '^qemu-img convert -f qcow2 -O qcow2 -c .*sparsify.*qcow2 .*sparse.qcow2'
[[ $(file_on sparse.qcow2 /etc/hostname) == after ]] || fail "virt-sparsify: what is in it"
"$REFERENCE" check sparse.qcow2 | grep -q '100.00% compressed' || fail "virt-sparsify: not compressed"

qemu-img create -q -f qcow2 bigger.qcow2 80M
virt-resize -q --expand /dev/sda1 top.qcow2 bigger.qcow2
[[ $(file_on bigger.qcow2 /etc/hostname) == after ]] || fail "virt-resize: what is in it"
blocks=$(dumpe2fs -h part.seen 2>/dev/null | awk '/^Block count/ {print $3}')
((blocks > 60000)) || fail "virt-resize: $blocks blocks"

cmp base.qcow2 base.before
sound base.qcow2 top.qcow2 sparse.qcow2 bigger.qcow2
