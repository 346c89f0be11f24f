#!/bin/bash
# libnbd's tools start qemu-nbd themselves, over a socket that they hand to it, and nbdkit starts commands of qemu-img
# and qemu-io with the address of its disk: the links answer.
set -euo pipefail
for tool in nbdkit nbdinfo nbdcopy nbddump nbdfuse nbdsh qemu-img; do command -v "$tool" >/dev/null || exit 77; done
[[ -e /dev/fuse ]] || exit 77
. "$(dirname "$(realpath "$0")")/lib/names_first.sh"

closed() {  # IMAGE: waits for the server, which its client does not wait for
  for _ in $(seq 200); do
    if "$REFERENCE" info "$1" >/dev/null 2>&1; then return; fi
    sleep 0.05
  done
  fail "$1 is not closed"
}

head -c 5M /dev/urandom >data
qemu-img create -q -f qcow2 base.qcow2 16M
qemu-io -c 'write -q -s data 1M 5M' base.qcow2
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2
"$REFERENCE" convert -f qcow2 -O raw base.qcow2 expected.raw

[[ $(nbdinfo --size -- [ qemu-nbd -r -f qcow2 top.qcow2 ]) == $((16 << 20)) ]] || fail "nbdinfo --size"
nbdinfo --map -- [ qemu-nbd -r -f qcow2 top.qcow2 ] >map
[[ $(awk '{print $1, $2, $4}' map) == "0 1048576 hole,zero
1048576 5242880 data
6291456 10485760 hole,zero" ]] || fail "nbdinfo --map: $(cat map)"
nbdcopy -- [ qemu-nbd -r -f qcow2 top.qcow2 ] copy.raw
cmp copy.raw expected.raw
nbddump --length=64 -- [ qemu-nbd -r -f qcow2 top.qcow2 ] | grep -q "^0000000000: 00 00" || fail nbddump

# Into an image, with several connections. Then the client tells the server to end while that closes the image, because
# its last client is gone.
for _ in $(seq 10); do
  qemu-img create -q -f qcow2 copy.qcow2 16M
  nbdcopy --connections=4 -- expected.raw [ qemu-nbd -f qcow2 -e 8 copy.qcow2 ]
  closed copy.qcow2
  "$REFERENCE" compare -q -f raw -F qcow2 expected.raw copy.qcow2 || fail "nbdcopy: content is lost"
done

/usr/bin/python3 - <<'END'
import nbd
h = nbd.NBD()
h.connect_systemd_socket_activation(["qemu-nbd", "-f", "qcow2", "top.qcow2"])
assert h.get_size() == 16 << 20
h.pwrite(b"\xA5" * 70000, 12345)
h.zero(1 << 20, 2 << 20)
h.trim(1 << 20, 4 << 20)
h.flush()
assert h.pread(70000, 12345) == b"\xA5" * 70000
h.shutdown()
END
closed top.qcow2
qemu-io -r -c 'read -q -P 0xA5 12345 70000' -c 'read -q -P 0 2M 1M' top.qcow2

# As a file. nbdfuse ends what it started once it is unmounted.
mkdir mounted
nbdfuse mounted [ qemu-nbd -f qcow2 copy.qcow2 ] &
mount=$!
trap 'fusermount3 -qu mounted || true; wait "$mount" || true' EXIT
for _ in $(seq 200); do
  if [[ -e mounted/nbd ]]; then break; fi
  sleep 0.05
done
cmp mounted/nbd expected.raw
printf byre | dd of=mounted/nbd bs=1 seek=3000000 conv=notrunc status=none
fusermount3 -u mounted
wait "$mount"
trap - EXIT
closed copy.qcow2
qemu-io -r -c 'read -q -P 0x62 3000000 1' copy.qcow2

nbdkit -U - --filter=cow file expected.raw --run '
  qemu-img info --output=json $nbd && qemu-img convert -f raw $uri -O qcow2 kit.qcow2 &&
  qemu-io -f raw -c "write -q -P 9 1k 3k" -c "read -q -P 9 1k 3k" $uri && qemu-img map -f raw $nbd' >told
grep -q '"virtual-size": 16777216' told || fail "nbdkit: $(cat told)"
"$REFERENCE" compare -q -f raw -F qcow2 expected.raw kit.qcow2

sound base.qcow2 top.qcow2 copy.qcow2
for pattern in '-r -f qcow2 top' '-f qcow2 top' '-f qcow2 -e 8 copy'; do called "^qemu-nbd $pattern"; done
