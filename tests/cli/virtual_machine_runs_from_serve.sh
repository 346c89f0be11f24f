#!/bin/bash
# A virtual machine with a Debian kernel boots from a disk that "$BYRE" serves, writes, frees, and shuts down: what it
# wrote is there, and image and file system are clean. With KVM where it works, else emulated.
#
# The kernel is taken out of its package, into KERNEL_DIRECTORY, and not installed: that would want a boot loader.
set -euo pipefail
. "$(dirname "$(realpath "$0")")/lib/service.sh"
lib=$(dirname "$(realpath "$0")")/lib

for tool in qemu-system-x86_64 busybox cpio mke2fs debugfs; do
  command -v "$tool" >/dev/null || { echo "$tool is missing" >&2; exit 77; }
done
[[ $(uname -m) == x86_64 ]] || exit 77
kernel=$("$lib/test_kernel.sh" "$KERNEL_DIRECTORY")
modules=$(echo "$kernel"/lib/modules/*)

# The first root: what it takes to find the disk. Modules in the order of what they need.
mkdir -p first/bin first/modules first/root first/proc first/dev first/sys
cp "$(command -v busybox)" first/bin/busybox
"$lib/module_order.py" "$modules" virtio_pci virtio_blk ext4 >order.txt
while read -r module; do cp "$modules/$module" first/modules/; done <order.txt
{
  echo '#!/bin/busybox sh'
  echo '/bin/busybox mount -t devtmpfs dev /dev'
  while read -r module; do echo "/bin/busybox insmod /modules/$(basename "$module")"; done <order.txt
  echo '/bin/busybox mount -t ext4 /dev/vda /root || /bin/busybox poweroff -f'
  echo 'exec /bin/busybox switch_root /root /sbin/init'
} >first/init
chmod +x first/init
(cd first && find . | cpio -o -H newc --quiet) | gzip -1 >initrd.gz

# The disk: writes a file of known content, deletes another, gives its space back, and says how it went in a file.
mkdir -p root/bin root/sbin root/proc root/sys root/dev root/tmp
cp "$(command -v busybox)" root/bin/busybox
cat >root/sbin/init <<'INIT'
#!/bin/busybox sh
export PATH=/bin
busybox mount -t devtmpfs dev /dev
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox --install -s /bin
if sh -e /sbin/work >/log 2>&1; then echo done >/outcome; else echo failed >/outcome; fi
mount -o remount,ro /
sync
poweroff -f
INIT
cat >root/sbin/work <<'WORK'
sha256sum -c /before.sum
i=0
while [ $i -lt 200 ]; do
  echo "line $i of what the machine wrote" >>/lines
  dd if=/bin/busybox of=/copy.$((i % 10)) bs=64k count=4 conv=notrunc 2>/dev/null
  i=$((i + 1))
done
sync
rm /ballast
fstrim -v /
dd if=/dev/urandom of=/random bs=1M count=8
sha256sum /random >/random.sum
WORK
chmod +x root/sbin/init
head -c 20M /dev/urandom >root/ballast
(cd root && sha256sum ballast >before.sum)
mke2fs -q -t ext4 -d root root.raw 192M
"$BYRE" convert -f raw -O qcow2 root.raw base.qcow2
"$BYRE" create -q -f qcow2 -b base.qcow2 -F qcow2 disk.qcow2
"$BYRE" snapshot -c fresh disk.qcow2
before=$(sha256sum <base.qcow2)

machine() {  # SECONDS ACCELERATOR WORDS...
  timeout "$1" qemu-system-x86_64 -accel "$2" -m 256 -nodefaults -nographic -serial file:console.txt -no-reboot \
    -kernel "$kernel"/boot/vmlinuz-* -append "console=ttyS0 panic=-1" "${@:3}" >machine.log 2>&1
}

# In a virtual machine, KVM may be there and not work: a kernel without a root must get as far as its panic.
accelerator=tcg
if [[ -w /dev/kvm ]] && machine 10 kvm; then accelerator=kvm; fi
echo "by $accelerator"

start_service "listening" serve -k "$PWD/socket" --persistent disk.qcow2
machine 300 $accelerator -initrd initrd.gz \
  -drive "file=nbd+unix:///?socket=$PWD/socket,format=raw,if=virtio,discard=unmap,detect-zeroes=unmap" ||
  fail "the machine: $(cat machine.log; tail -20 console.txt)"
kill "$service"
service_ended

"$BYRE" check disk.qcow2 || fail "byre check"
qemu-img check -q disk.qcow2 || fail "qemu-img check"
[[ $("$BYRE" info --output=json disk.qcow2 | grep dirty-flag) == *false* ]] || fail "still dirty"
[[ $before == "$(sha256sum <base.qcow2)" ]] || fail "the backing file changed"
"$BYRE" convert -f qcow2 -O raw disk.qcow2 after.raw
e2fsck -fn after.raw >fsck.txt 2>&1 || fail "the file system: $(cat fsck.txt)"
for file in outcome lines random random.sum log; do debugfs -R "dump /$file $file" after.raw >/dev/null 2>&1; done
[[ $(cat outcome) == "done" ]] || fail "in the machine: $(cat outcome log; tail -20 console.txt)"
[[ $(wc -l <lines) == 200 ]] || fail "$(wc -l <lines) lines"
[[ $(sha256sum <random | cut -d' ' -f1) == "$(cut -d' ' -f1 random.sum)" ]] || fail "what it wrote reads differently"
# The snapshot still holds what was there before.
"$BYRE" convert -f qcow2 -O raw -l fresh disk.qcow2 fresh.raw
cmp fresh.raw root.raw || fail "the snapshot changed"
