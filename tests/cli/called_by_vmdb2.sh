#!/bin/bash
# The image builder vmdb2 makes its image through the link qemu-img, and partitions it. File systems only where the
# kernel has a device mapper, which vmdb2 needs for partitions.
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin
for tool in vmdb2 parted sfdisk qemu-img; do command -v "$tool" >/dev/null || exit 77; done
. "$(dirname "$(realpath "$0")")/lib/names_first.sh"

cat >image.vmdb <<'END'
steps:
  - mkimg: "{{ output }}"
    size: 64M
  - mklabel: msdos
    device: "{{ output }}"
  - mkpart: primary
    device: "{{ output }}"
    start: 0%
    end: 50%
    tag: root
  - mkpart: primary
    device: "{{ output }}"
    start: 50%
    end: 100%
    tag: data
END
if grep -q device-mapper /proc/devices; then
  cat >>image.vmdb <<'END'
  - kpartx: "{{ output }}"
  - mkfs: ext4
    partition: root
END
fi
vmdb2 --output image.raw --log log image.vmdb >/dev/null 2>&1 || fail "vmdb2: $(tail -20 log)"
called '^qemu-img create -f raw image.raw 64M$'
[[ $(stat -c %s image.raw) == $((64 << 20)) ]] || fail "size: $(stat -c %s image.raw)"
[[ $(sfdisk -l image.raw | grep -c '^image.raw') == 2 ]] || fail "partitions: $(sfdisk -l image.raw)"

# What its users do next.
qemu-img convert -c -f raw -O qcow2 image.raw image.qcow2
sound image.qcow2
"$REFERENCE" compare -q -f raw -F qcow2 image.raw image.qcow2
