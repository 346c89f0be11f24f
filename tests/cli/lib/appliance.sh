# . appliance.sh TOOLS...: for libguestfs's tools: the names first in PATH (names_first.sh), and their appliance with a
# kernel that is not installed, emulated, because KVM need not work. Sets up a small disk with a system on it: ./tree,
# which is the first partition of ./disk.raw.

PATH=$PATH:/usr/sbin:/sbin
for tool in "$@" qemu-img qemu-system-x86_64 busybox mke2fs debugfs sfdisk depmod; do
  command -v "$tool" >/dev/null || exit 77
done
lib=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
. "$lib/names_first.sh"

kernel=$("$lib/test_kernel.sh" "$KERNEL_DIRECTORY")
export SUPERMIN_KERNEL SUPERMIN_MODULES
SUPERMIN_KERNEL=$(echo "$kernel"/boot/vmlinuz-*)
SUPERMIN_MODULES=$(echo "$kernel"/lib/modules/*)
export LIBGUESTFS_BACKEND=direct LIBGUESTFS_BACKEND_SETTINGS=force_tcg LIBGUESTFS_CACHEDIR=$PWD TMPDIR=$PWD

# The appliance's maker looks at the folder of the running kernel's modules, which machines without modules lack.
if [[ ! -d /lib/modules ]]; then
  mkdir /lib/modules 2>/dev/null || { echo "libguestfs needs a folder /lib/modules" >&2; exit 77; }
fi

mkdir -p tree/{bin,boot,dev,etc,home,lib,proc,root,sys,tmp,usr/bin,usr/lib,var/lib/dpkg}
printf '%s\n' 'ID=debian' 'VERSION_ID="12"' 'NAME="Debian GNU/Linux"' \
  'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"' >tree/etc/os-release
echo 12.0 >tree/etc/debian_version
echo '/dev/sda1 / ext4 defaults 0 1' >tree/etc/fstab
echo before >tree/etc/hostname
: >tree/var/lib/dpkg/status
cp "$(command -v busybox)" tree/bin/ls
mke2fs -q -t ext4 -d tree part.raw 40M
truncate -s 41M disk.raw
echo 'start=2048, type=83' | sfdisk -q disk.raw
dd if=part.raw of=disk.raw bs=1M seek=1 conv=notrunc,sparse status=none

file_on() {  # IMAGE PATH: its content in the first partition, as debugfs reads it
  "$REFERENCE" dd -f qcow2 -O raw bs=1M skip=1 if="$1" of=part.seen
  debugfs -R "cat $2" part.seen 2>/dev/null
}
