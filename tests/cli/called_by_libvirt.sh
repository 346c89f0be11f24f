#!/bin/bash
# libvirt's storage pools make, clone and resize images through the link qemu-img. The daemon is that of an ordinary
# user with a socket of its own, because the system's wants users and services that need not be there.
set -euo pipefail
for tool in libvirtd virsh setpriv qemu-img; do PATH=$PATH:/usr/sbin command -v "$tool" >/dev/null || exit 77; done

# Where an ordinary user may go.
work=$(mktemp -d)
cp "$BYRE" "$work/byre"
BYRE=$work/byre
lib=$(dirname "$(realpath "$0")")/lib
cd "$work"
. "$lib/names_first.sh"
mkdir run pool
as_user=()
if ((EUID == 0)); then
  as_user=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
  chown -R nobody .
fi

export HOME=$work XDG_RUNTIME_DIR=$work/run
unset XDG_CONFIG_HOME XDG_CACHE_HOME
socket=$work/run/libvirt/libvirt-sock
"${as_user[@]}" libvirtd >daemon.log 2>&1 &
daemon=$!
trap 'kill "$daemon" 2>/dev/null || true; wait "$daemon" || true; rm -r "$work"' EXIT
v() { "${as_user[@]}" virsh -q -c "storage+unix:///session?socket=$socket" "$@" >/dev/null; }
for _ in $(seq 200); do
  if [[ -S $socket ]] && v pool-list 2>/dev/null; then break; fi
  sleep 0.05
done
v pool-create-as byre dir --target "$work/pool" || fail "no daemon: $(cat daemon.log)"

cd pool
v vol-create-as byre a.qcow2 100M --format qcow2
"${as_user[@]}" qemu-io -c 'write -q -P 7 1M 3M' a.qcow2
v vol-create-as byre b.qcow2 100M --format qcow2 --backing-vol a.qcow2 --backing-vol-format qcow2
v vol-create-as byre r.raw 10M --format raw
v vol-clone --pool byre a.qcow2 c.qcow2
cat >../new.xml <<'END'
<volume>
  <name>new.qcow2</name>
  <capacity unit='MiB'>64</capacity>
  <target>
    <format type='qcow2'/>
    <compat>1.1</compat>
    <features><lazy_refcounts/></features>
  </target>
</volume>
END
v vol-create byre ../new.xml
sed 's/new.qcow2/copied.qcow2/' ../new.xml >../copied.xml
v vol-create-from --inputpool byre byre ../copied.xml c.qcow2
v vol-resize --pool byre c.qcow2 200M
v vol-resize --pool byre c.qcow2 150M --shrink
v vol-upload --pool byre --vol r.raw /etc/passwd
"${as_user[@]}" virsh -q -c "storage+unix:///session?socket=$socket" vol-list byre --details >../list
awk '{print $1, $4}' ../list | sort >../sizes
[[ $(cat ../sizes) == "a.qcow2 100.00
b.qcow2 100.00
c.qcow2 150.00
copied.qcow2 100.00
new.qcow2 64.00
r.raw 10.00" ]] || fail "vol-list: $(cat ../list)"
v pool-destroy byre

"$REFERENCE" compare -q a.qcow2 b.qcow2
for image in c.qcow2 copied.qcow2; do qemu-io -r -c 'read -q -P 7 1M 3M' -c 'read -q -P 0 4M 96M' "$image"; done
"$REFERENCE" info new.qcow2 | grep -q 'lazy refcounts: true' || fail "new.qcow2 has no lazy refcounts"
cd ..
sound pool/*.qcow2
for pattern in 'create -f qcow2 -o compat=0.10 .*/a.qcow2 102400K' \
  'create -f qcow2 -b .*/a.qcow2 -o backing_fmt=qcow2' 'create .*lazy_refcounts.*/new.qcow2' \
  'convert -f qcow2 -O qcow2 .*/a.qcow2 .*/c.qcow2' 'convert .* .*/copied.qcow2' \
  'resize .*/c.qcow2 209715200' 'resize --shrink .*/c.qcow2 157286400'; do
  called "^qemu-img $pattern"
done
