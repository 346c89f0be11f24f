#!/bin/bash
# The examples are short, and do what they say on images of another implementation.
set -euo pipefail
. "$(dirname "$(realpath "$0")")/lib/service.sh"

sources=$(dirname "$(realpath "$0")")/../../examples
for source in "$sources"/*.cc; do
  [[ $(wc -l <"$source") -lt 60 ]] || fail "$source has 60 lines or more"
  [[ -x $EXAMPLES/$(basename "$source" .cc) ]] || fail "$source is not built"
done

qemu-img create -q -f qcow2 base.qcow2 3M
qemu-io -f qcow2 -c 'write -P 65 0 512' -c 'write -P 1 1M 64k' base.qcow2 >/dev/null
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 disk.qcow2
qemu-io -f qcow2 -c 'write -P 2 2M 1000' disk.qcow2 >/dev/null

[[ $("$EXAMPLES/read_first_sector" disk.qcow2) == "$(printf 'A%.0s' $(seq 512))" ]] || fail "not the first sector"
status=0
"$EXAMPLES/read_first_sector" "$sources/own_loop.cc" 2>error.txt || status=$?
[[ $status == 1 ]] && grep -q own_loop.cc error.txt || fail "no image: $status, $(cat error.txt)"

[[ $("$EXAMPLES/own_loop" disk.qcow2 </dev/null | tail -1) == "sum $((65 * 512 + 65536 + 2 * 1000))" ]] ||
  fail "own_loop: another sum"
[[ $("$EXAMPLES/custom_storage") == "a terabyte, and this in the middle, in "*" KiB" ]] || fail "custom_storage"

# What a client writes, it reads. (The module that nbdsh needs is the system's Python's.)
"$EXAMPLES/serve_memory_image" "$PWD/socket" >service.log 2>&1 &
service=$!
for _ in $(seq 1000); do
  if grep -q listening service.log; then break; fi
  sleep 0.01
done
PATH=/usr/bin:$PATH nbdsh -u "nbd+unix:///?socket=$PWD/socket" -c '
assert h.get_size() == 1 << 30
h.pwrite(b"x" * 4096, 12345)
assert h.pread(4098, 12344) == b"\0" + b"x" * 4096 + b"\0"'
service_ended
