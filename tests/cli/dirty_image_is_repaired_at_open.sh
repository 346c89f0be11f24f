#!/bin/bash
# An image that a killed session left dirty, ours or the reference's: reading it changes nothing, the first opening for
# writing repairs it and says so in one line, and either tool finds it clean then. With other damage it is refused.
set -euo pipefail
BYRE=${BYRE:?}
command -v qemu-img qemu-io >/dev/null || exit 77
export LC_ALL=C

fail() {
  echo "$*"
  exit 1
}
is_dirty() { (($(od -An -tu1 -j79 -N1 "$1") & 1)); }

session() {
  if [[ $1 == byre ]]; then "$BYRE" io -f qcow2 "$2"; else qemu-io -f qcow2 "$2"; fi
}
# leave_dirty TOOL IMAGE: a session with lazy refcounts that flushes and is killed.
leave_dirty() {
  rm -f "$2"
  "$BYRE" create -q -f qcow2 -o lazy_refcounts=on "$2" 8M
  { printf '%s\n' 'write -P 7 0 256k' 'write -P 9 1M 64k' flush 'sigraise 9' | session "$1" "$2" || true; } \
    >/dev/null 2>&1
  is_dirty "$2" || fail "$1 left $2 clean"
}

for tool in byre reference; do
  leave_dirty "$tool" a.qcow2
  sum=$(sha256sum <a.qcow2)
  "$BYRE" io -r -f qcow2 -c 'read -P 7 0 256k' -c 'read -P 9 1M 64k' a.qcow2 >out 2>err
  grep -q 'Pattern verification failed' out && fail "$tool: a dirty image reads differently"
  [[ ! -s err ]] || fail "$tool: reading a dirty image says: $(<err)"
  [[ $(sha256sum <a.qcow2) == "$sum" ]] || fail "$tool: reading a dirty image changed it"

  "$BYRE" io -f qcow2 -c 'read -P 7 0 256k' -c 'write -P 5 2M 64k' a.qcow2 >out 2>err
  grep -q 'Pattern verification failed' out && fail "$tool: the repaired image reads differently"
  [[ $(wc -l <err) -eq 1 ]] || fail "$tool: not one line about the repair: $(<err)"
  grep -q 'a.qcow2: not closed cleanly, repaired: [1-9][0-9]* wrong refcounts or flags corrected' err ||
    fail "$tool: the line about the repair is: $(<err)"
  is_dirty a.qcow2 && fail "$tool: still dirty after a clean close"
  qemu-img check -q a.qcow2 || fail "$tool: not clean for the reference"
  "$BYRE" check -q a.qcow2 || fail "$tool: not clean for byre check"
  "$BYRE" io -f qcow2 -c 'read -P 9 1M 64k' -c 'read -P 5 2M 64k' a.qcow2 >out 2>err
  grep -q 'Pattern verification failed' out && fail "$tool: reads differently in the end"
  [[ ! -s err ]] || fail "$tool: a clean image says: $(<err)"
done

# The reference takes over what we left.
leave_dirty byre a.qcow2
qemu-io -f qcow2 -c 'read -P 7 0 256k' -c 'read -P 9 1M 64k' a.qcow2 >out 2>&1 || fail "the reference: $(<out)"
if grep -q 'Pattern verification failed' out; then fail "the reference reads differently"; fi
qemu-img check -q a.qcow2 || fail "the reference does not get our dirty image clean"

# An L2 entry that points between clusters is more than wrong counts: refused, and the bit stays.
leave_dirty byre a.qcow2
l2=$((0x$(od -An -tx1 -j$((0x30000)) -N8 a.qcow2 | tr -d ' ') & 0xfffffffffffe00))
printf '\x80\x00\x00\x00\x00\x05\x02\x00' | dd of=a.qcow2 bs=1 seek=$((l2 + 8 * 40)) conv=notrunc status=none
"$BYRE" io -f qcow2 -c 'write 2M 64k' a.qcow2 >out 2>err && fail "an image with other damage was opened for writing"
grep -q 'byre check -r all' err || fail "the refusal does not say what to do: $(<err)"
is_dirty a.qcow2 || fail "the refused image has lost its dirty bit"
"$BYRE" check -q -r all a.qcow2 >out 2>err || true
"$BYRE" io -f qcow2 -c 'write 2M 64k' -c 'read -P 7 0 256k' a.qcow2 >out 2>err || fail "not repaired: $(<err)"
