#!/bin/bash
# format.md C-26: chains read through all their layers, -B writes only what differs from the new backing file, and -l
# copies what an internal snapshot holds.
set -euo pipefail
BYRE=${BYRE:?}
command -v qemu-img qemu-io >/dev/null || exit 77
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"

failures=0
complain() {
  echo "$*"
  failures=1
}
clean() { qemu-img check -q "$1" || complain "$1: not clean"; }
same() { qemu-img compare -q "$1" "$2" || complain "$3: content differs"; }
io() { qemu-io "$@" >/dev/null; }
# Guest bytes that the top layer of an image stores itself.
own_bytes() {
  qemu-img map --output=json "$1" | grep '"depth": 0.*"data": true' | grep -o '"length": [0-9]*' |
    awk '{n += $2} END {print n + 0}'
}

qemu-img create -q -f qcow2 base.qcow2 6M
io -c 'write -P 1 0 3M' -c 'write -P 2 5M 1M' base.qcow2
qemu-img create -q -f qcow2 -o cluster_size=4k -b base.qcow2 -F qcow2 middle.qcow2 4M
io -c 'write -P 3 1M 100k' -c 'write -z 2M 500k' middle.qcow2
qemu-img create -q -f qcow2 -o cluster_size=128k -b middle.qcow2 -F qcow2 top.qcow2 8M
io -c 'write -P 4 1100k 300k' -c 'write -P 5 7M 10k' -c 'write -z 0 64k' top.qcow2

"$BYRE" convert -O qcow2 top.qcow2 flat.qcow2
same top.qcow2 flat.qcow2 'chain of three to qcow2'
clean flat.qcow2
"$BYRE" convert -O raw top.qcow2 flat.raw
qemu-img compare -q -F raw top.qcow2 flat.raw || complain 'chain of three to raw: content differs'
"$BYRE" convert -c -O qcow2 top.qcow2 packed.qcow2
same top.qcow2 packed.qcow2 'chain of three, compressed'
clean packed.qcow2

# A new overlay of another layer of the same chain: only the difference is stored.
for below in middle.qcow2 base.qcow2; do
  for options in '' '-c' '-S 0' '-o cluster_size=4k' '-W -m 2'; do
    # shellcheck disable=SC2086
    "$BYRE" convert $options -O qcow2 -B $below -F qcow2 top.qcow2 overlay.qcow2
    same top.qcow2 overlay.qcow2 "overlay of $below, options '$options'"
    clean overlay.qcow2
    stored=$(own_bytes overlay.qcow2)
    ((stored < 3000000)) || complain "overlay of $below '$options': $stored bytes stored"
  done
done

# The very copy of the backing file needs nothing.
"$BYRE" convert -O qcow2 -B base.qcow2 -F qcow2 base.qcow2 nothing.qcow2
same base.qcow2 nothing.qcow2 'overlay without a difference'
(($(own_bytes nothing.qcow2) == 0)) || complain 'an overlay without a difference stores something'

# An existing overlay with content of its own.
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 kept.qcow2 8M
io -c 'write -P 9 1M 2M' -c 'write -P 9 6M 1M' kept.qcow2
"$BYRE" convert -n -O qcow2 -B base.qcow2 -F qcow2 top.qcow2 kept.qcow2
same top.qcow2 kept.qcow2 'existing overlay'
clean kept.qcow2
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 kept.qcow2 8M
"$BYRE" convert -n -O qcow2 top.qcow2 kept.qcow2
same top.qcow2 kept.qcow2 'existing overlay, all written'
clean kept.qcow2

# Relative to the target's directory, as stored.
mkdir sub
"$BYRE" convert -O qcow2 -B ../base.qcow2 -F qcow2 top.qcow2 sub/overlay.qcow2
same top.qcow2 sub/overlay.qcow2 'overlay in another directory'

# Snapshots.
qemu-img convert -O qcow2 top.qcow2 live.qcow2
qemu-img snapshot -c first live.qcow2
io -c 'write -P 6 0 2M' live.qcow2
qemu-img snapshot -c second live.qcow2
io -c 'write -P 7 0 8M' live.qcow2
for name in first 1 snapshot.id=1 snapshot.name=first; do
  "$BYRE" convert -l $name -O qcow2 live.qcow2 old.qcow2
  same old.qcow2 top.qcow2 "snapshot $name"
  clean old.qcow2
done
for name in snapshot.id=first snapshot.name=1; do
  ! "$BYRE" convert -l $name -O qcow2 live.qcow2 none.qcow2 2>/dev/null || complain "$name matched the other key"
done
"$BYRE" convert -l second -O raw live.qcow2 old.raw
qemu-img convert -l second -O raw live.qcow2 expected.raw
cmp -s old.raw expected.raw || complain 'second snapshot: content differs'
exit "$failures"
