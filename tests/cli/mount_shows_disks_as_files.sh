#!/bin/bash
# The virtual disk through FUSE: programs that know nothing of images make file systems on it, find holes, see snapshots
# and partitions; whatever way it ends, the image is clean and holds what they wrote.
set -euo pipefail
[[ -w /dev/fuse && $EUID == 0 ]] || exit 77
for tool in mke2fs debugfs e2fsck sfdisk losetup fusermount3; do command -v "$tool" >/dev/null || exit 77; done

. "$(dirname "$(realpath "$0")")/lib/service.sh"

loop=
clean_up() {
  if [[ -n $loop ]]; then losetup -d "$loop" || true; fi
  end_service
}
trap clean_up EXIT

# show IMAGE PLACE WORDS...: until `service_ended`, after it was unmounted, or `finish_service`.
show() { start_service ' is at ' mount "$@"; }

"$BYRE" create -q -f qcow2 disk.qcow2 64M
: >file
show disk.qcow2 file
[[ $(stat -c '%s %a %F' file) == '67108864 600 regular file' ]] || fail "stat: $(stat file)"
mke2fs -q -F file
mkdir tree && cp /bin/ls tree/ && head -c 3000000 /dev/urandom >tree/random
debugfs -w -R 'write tree/random random' file 2>/dev/null
e2fsck -fn file >/dev/null 2>&1 || fail "e2fsck"
if cat file >/dev/null && dd if=/dev/zero of=file bs=1M count=1 seek=64 conv=notrunc 2>/dev/null; then
  fail "it can be written behind its end"
fi
umount file
service_ended
[[ ! -s file ]] || fail "what the file was before is not back"
qemu-img check -q disk.qcow2
"$BYRE" convert -q -O raw disk.qcow2 disk.raw
debugfs -R 'dump random random' disk.raw 2>/dev/null
cmp random tree/random

# Through a loop device, with a mounted file system on it that trims; ended by a signal.
show disk.qcow2 file
loop=$(losetup --show -f file)
mkdir mounted
mount "$loop" mounted
cp tree/ls mounted/
cmp mounted/random tree/random
rm mounted/random
fstrim mounted || fail "fstrim"
umount mounted
losetup -d "$loop"
loop=
finish_service
qemu-img check -q disk.qcow2
"$BYRE" convert -q -O raw disk.qcow2 disk.raw
e2fsck -fn disk.raw >/dev/null 2>&1 || fail "e2fsck after a loop device"
debugfs -R 'dump ls ls' disk.raw 2>/dev/null
cmp ls tree/ls

# Holes: looked for, punched, zeroed; mmap; the image becomes smaller.
"$BYRE" create -q -f qcow2 holes.qcow2 64M
show holes.qcow2 file
python3 - <<'PYTHON'
import ctypes, mmap, os
MIB = 1 << 20
fd = os.open("file", os.O_RDWR)
assert os.lseek(fd, 0, os.SEEK_HOLE) == 0
try:
    os.lseek(fd, 0, os.SEEK_DATA)
    raise SystemExit("data in an empty disk")
except OSError as error:
    assert error.errno == 6, error
assert os.pwrite(fd, b"x" * MIB, 10 * MIB) == MIB
assert (os.lseek(fd, 0, os.SEEK_DATA), os.lseek(fd, 10 * MIB, os.SEEK_HOLE)) == (10 * MIB, 11 * MIB)
fallocate = ctypes.CDLL(None, use_errno=True).fallocate
fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
PUNCH, ZERO, KEEP = 2, 16, 1
assert fallocate(fd, PUNCH | KEEP, 10 * MIB, MIB // 2) == 0
assert os.lseek(fd, 0, os.SEEK_DATA) == 10 * MIB + MIB // 2
assert os.pread(fd, 4, 10 * MIB) == bytes(4) and os.pread(fd, 4, 10 * MIB + MIB // 2) == b"xxxx"
assert fallocate(fd, ZERO, 10 * MIB + MIB // 2, 4096) == 0
assert os.pread(fd, 4097, 10 * MIB + MIB // 2) == bytes(4096) + b"x"
assert fallocate(fd, 0, 0, MIB) == -1 and ctypes.get_errno() == 95
with mmap.mmap(fd, 64 * MIB) as mapped:
    mapped[20 * MIB : 20 * MIB + 5] = b"hello"
    mapped.flush()
os.fsync(fd)
os.close(fd)
assert open("file", "rb").seek(0, 2) == 64 * MIB
PYTHON
fusermount3 -u file
service_ended
qemu-img check -q holes.qcow2
qemu-img convert -f qcow2 -O raw holes.qcow2 holes.raw
[[ $(dd if=holes.raw bs=5 count=1 skip=20M iflag=skip_bytes status=none) == hello ]] || fail "mmap"
qemu-io -f qcow2 -c 'read -q -P 0 10M 512k' -c 'read -q -P 0x78 11014144 1000' holes.qcow2

# A directory: the disk and its snapshots.
"$BYRE" create -q -f qcow2 many.qcow2 4M
for state in 1 2 3; do
  "$BYRE" io -c "write -q -P $state 0 4M" many.qcow2
  "$BYRE" snapshot -c "state$state" many.qcow2
done
"$BYRE" snapshot -c 'a/b' many.qcow2
mkdir directory
show many.qcow2 directory
find directory -type f -printf '%P\n' | sort >listed
printf '%s\n' disk snapshots/id-4 snapshots/state1 snapshots/state2 snapshots/state3 | diff listed -
head -c 4M /dev/zero | tr '\0' '\4' | dd of=directory/disk bs=1M conv=notrunc,fsync status=none
for state in 1 2 3; do
  cmp <(head -c 4M /dev/zero | tr '\0' "\\$state") "directory/snapshots/state$state" || fail "snapshot $state"
done
if dd if=/dev/zero of=directory/snapshots/state1 bs=512 count=1 conv=notrunc status=none 2>/dev/null; then
  fail "a snapshot can be written"
fi
# In use when the signal comes: the file shows errors from then on, the image is closed.
exec 7<directory/disk
finish_service
exec 7<&-
[[ -z $(ls directory) ]] || fail "still mounted"
qemu-img check -q many.qcow2
"$BYRE" io -c 'read -q -P 4 0 4M' many.qcow2

# Partitions, of both kinds of table, and what is wrong with one.
for label in dos gpt; do
  rm -f raw && truncate -s 32M raw
  printf 'label: %s\nstart=2048, size=8192\nstart=16384, size=4096\n' "$label" | sfdisk -q raw
  dd if=/dev/urandom of=raw bs=512 seek=16384 count=4096 conv=notrunc status=none
  "$BYRE" convert -q -f raw -O qcow2 raw partitions.qcow2
  show partitions.qcow2 file --partition 2 --read-only
  [[ $(stat -c '%s %a' file) == '2097152 400' ]] || fail "$label: $(stat -c '%s %a' file)"
  cmp file <(dd if=raw bs=512 skip=16384 count=4096 status=none)
  umount file
  service_ended
  if timeout 20 "$BYRE" mount partitions.qcow2 file --partition 3 >out 2>&1; then fail "$label: partition 3"; fi
  grep -q 'no partition 3' out || fail "$label: $(cat out)"
done
printf 'label: dos\nstart=2048, size=40960, type=5\nstart=4096, size=2048\nstart=8192, size=4096\n' | sfdisk -q raw
"$BYRE" convert -q -f raw -O qcow2 raw partitions.qcow2
show partitions.qcow2 file --partition 6
[[ $(stat -c %s file) == 2097152 ]] || fail "logical: $(stat -c %s file)"
umount file
service_ended

# To the background, and refusals.
"$BYRE" mount --fork --pid-file pid disk.qcow2 file >/dev/null
[[ $(stat -c %s file) == 67108864 ]] || fail "not mounted when the command returns"
background=$(cat pid)
umount file
for _ in $(seq 500); do [[ -e /proc/$background ]] || break; sleep 0.01; done
[[ ! -e pid ]] || fail "the pid file is left behind"
if timeout 20 "$BYRE" mount disk.qcow2 nowhere >out 2>&1; then fail "mounts on nothing"; fi
grep -q nowhere out || fail "$(cat out)"
if timeout 20 "$BYRE" mount missing.qcow2 file >out 2>&1; then fail "mounts a missing image"; fi
