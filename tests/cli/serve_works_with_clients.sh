#!/bin/bash
# Programs that others wrote use an image that byre serves: contents are the same byte for byte, and the image is clean.
set -euo pipefail
for tool in nbdinfo nbdcopy qemu-img qemu-io fio; do command -v "$tool" >/dev/null || exit 77; done

. "$(dirname "$(realpath "$0")")/lib/service.sh"

# serve WORDS...: until `finish_service`.
serve() { start_service '^listening on ' serve --socket socket --persistent --shared 0 "$@"; }

uri='nbd+unix:///?socket=socket'

# An overlay on a backing file, with data, zeros and nothing.
head -c 24M /dev/urandom >data
"$BYRE" create -q -f qcow2 base.qcow2 96M
"$BYRE" io -c "write -q -s data 8M 20M" base.qcow2
"$BYRE" create -q -f qcow2 -b base.qcow2 -F qcow2 disk.qcow2
"$BYRE" io -c "write -q -P 7 0 1M" -c "write -q -z 10M 2M" disk.qcow2
"$BYRE" convert -q -O raw disk.qcow2 wanted.raw

serve --read-only disk.qcow2
nbdinfo "$uri" | grep -q 'export-size: 100663296' || fail "nbdinfo: $(nbdinfo "$uri")"
nbdinfo --is readonly "$uri" || fail "it is read-only"
nbdinfo --map "$uri" | tr -s ' ' >map
printf ' %s\n' '0 1048576 0 data' '1048576 7340032 3 hole,zero' '8388608 2097152 0 data' \
  '10485760 2097152 3 hole,zero' '12582912 16777216 0 data' '29360128 71303168 3 hole,zero' >wanted.map
diff map wanted.map
nbdinfo --map=qemu:allocation-depth "$uri" | tr -s ' ' >map
printf ' %s\n' '0 1048576 1 local' '1048576 7340032 0 absent' '8388608 2097152 2 backing depth 2' \
  '10485760 2097152 1 local' '12582912 16777216 2 backing depth 2' '29360128 71303168 0 absent' >wanted.map
diff map wanted.map
nbdcopy --connections=4 "$uri" copy.raw
cmp copy.raw wanted.raw
qemu-img convert -f raw -O raw "$uri" copy.raw
cmp copy.raw wanted.raw
if qemu-io -f raw -c 'write 0 512' "$uri" >/dev/null 2>&1; then fail "writes to a read-only export"; fi
finish_service

# The other way, over 4 connections, and zeros stay sparse.
"$BYRE" create -q -f qcow2 target.qcow2 96M
serve target.qcow2
nbdcopy --connections=4 --destination-is-zero --flush wanted.raw "$uri"
finish_service
qemu-img check -q target.qcow2
qemu-img compare -q -f raw -F qcow2 wanted.raw target.qcow2
stored=$(stat -c %s target.qcow2)
((stored < 30 << 20)) || fail "$stored bytes: zeros were stored"

# qemu-io writes, zeroes, discards; a read-write client that is qemu-img's target.
serve disk.qcow2
qemu-io -f raw -c 'write -q -P 3 5M 3M' -c 'write -q -z -u 20M 1M' -c 'discard -q 0 64k' -c 'read -q -P 3 5M 3M' \
  -c 'read -q -P 0 20M 1M' -c 'read -q -P 0 0 64k' -c 'read -q -P 7 64k 960k' -c flush "$uri"
finish_service
qemu-img check -q disk.qcow2
qemu-io -f qcow2 -c 'read -q -P 3 5M 3M' -c 'read -q -P 0 20M 1M' -c 'read -q -P 0 0 64k' disk.qcow2

# fio: random reads, writes and trims, 4 jobs of depth 32, each in its own part and each block checked.
"$BYRE" create -q -f qcow2 fio.qcow2 256M
serve fio.qcow2
fio --ioengine=nbd --uri="$uri" --rw=randrw --bs=4k --size=48m --offset_increment=48m --numjobs=4 --iodepth=32 \
  --verify=crc32c --verify_fatal=1 --io_size=16m --name=mix --output=fio.log || fail "fio: $(cat fio.log)"
finish_service
qemu-img check -q fio.qcow2
