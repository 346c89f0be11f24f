#!/bin/bash
# A conversion that cannot be done changes no byte of any file, and leaves no new file (docs/format.md C-26, H-50).
set -euo pipefail
BYRE=${BYRE:?}
command -v qemu-img >/dev/null || exit 77
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"

qemu-img create -q -f qcow2 base.qcow2 1M
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 middle.qcow2
qemu-img create -q -f qcow2 -b middle.qcow2 -F qcow2 top.qcow2
head -c 1M /dev/urandom >disk.raw
head -c 70000 /dev/urandom >other.raw
ln -s base.qcow2 link.qcow2
ln base.qcow2 second-name.qcow2
mkdir sub
mkfifo pipe
before=$(find . -type f | sort | xargs sha256sum)

failures=0
# refused WORDS-OF-THE-MESSAGE ARGUMENT...
refused() {
  local words=$1 code=0 message
  shift
  message=$(timeout 20 "$BYRE" convert "$@" 2>&1 >/dev/null) || code=$?
  if ((code != 1)) || ! grep -qi -- "$words" <<<"$message"; then
    echo "convert $*: exit code $code, message: $message"
    failures=1
  fi
  if [[ $(find . -type f | sort | xargs sha256sum) != "$before" ]]; then
    echo "convert $*: files have changed"
    exit 1
  fi
}

for target in top.qcow2 middle.qcow2 base.qcow2 link.qcow2 second-name.qcow2 ./sub/../base.qcow2; do
  refused 'the target is the source' -O qcow2 top.qcow2 $target
  refused 'the target is the source' -U -O qcow2 top.qcow2 $target
  refused 'the target is the source' -n -O qcow2 top.qcow2 $target
done
refused 'the target is the source' -f raw -O raw disk.raw disk.raw
refused 'the target is the source' -f raw -O qcow2 other.raw disk.raw disk.raw
refused 'backing chain' -O qcow2 -B base.qcow2 -F qcow2 disk.raw base.qcow2 -f raw
refused 'backing chain' -O qcow2 -B middle.qcow2 -F qcow2 disk.raw base.qcow2 -f raw
refused 'directory' -O qcow2 top.qcow2 sub
refused 'FIFO' -O qcow2 top.qcow2 pipe
refused 'character device' -O raw top.qcow2 /dev/null
refused 'No such file' -O raw no-such-file target.raw
refused 'No such file' -O raw top.qcow2 no-such-directory/target.raw
refused 'No such file' -n -O qcow2 top.qcow2 target.qcow2
refused 'unknown format' -O vmdk top.qcow2 other.raw
refused 'unknown format' -f vmdk -O raw top.qcow2 other.raw
refused 'magic\|qcow2' -f qcow2 -O raw disk.raw other.raw
refused 'cluster' -O qcow2 -o cluster_size=3 top.qcow2 other.raw
refused 'option' -O qcow2 -o no_such_option=3 top.qcow2 other.raw
refused 'size' -O qcow2 -o size=5M top.qcow2 other.raw
refused 'compress' -c -O raw top.qcow2 other.raw
refused 'backing' -O raw -B base.qcow2 -F qcow2 top.qcow2 other.raw
refused 'backing' -O qcow2 -B base.qcow2 top.qcow2 other.raw
refused 'backing' -O qcow2 -B base.qcow2 -F qcow2 top.qcow2 disk.raw other.raw
refused 'no effect' -n -O qcow2 -o cluster_size=4k top.qcow2 other.raw
refused 'target-is-zero' --target-is-zero -O qcow2 top.qcow2 other.raw
refused 'smaller' -n -f qcow2 -O raw top.qcow2 other.raw
refused 'snapshot' -l none -O qcow2 top.qcow2 other.raw
refused 'snapshot' -l snapshot.color=blue -O qcow2 top.qcow2 other.raw
refused "snapshot with id 'x'" -l snapshot.id=x -O qcow2 top.qcow2 other.raw
refused 'snapshot' -l first -f raw -O qcow2 disk.raw other.raw
refused 'multiple of 512' -S 100 -O qcow2 top.qcow2 other.raw
refused 'multiple of 512' -S 3G -O qcow2 top.qcow2 other.raw
refused '1 to 16' -m 17 -O qcow2 top.qcow2 other.raw
refused '1 to 16' -m 0 -O qcow2 top.qcow2 other.raw
refused 'names of a source' top.qcow2
refused 'cache mode' -t fast -O qcow2 top.qcow2 other.raw
rm base.qcow2 second-name.qcow2
before=$(find . -type f | sort | xargs sha256sum)
refused 'base.qcow2' -O qcow2 top.qcow2 other.raw
exit "$failures"
