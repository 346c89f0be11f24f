#!/bin/bash
# Exports of NBD servers that others wrote, and of byre's own, as images: read, written, mapped, converted, checked;
# also where the server has blocks, where it is slow, and where it goes away.
set -euo pipefail
for tool in qemu-nbd nbdkit qemu-img; do command -v "$tool" >/dev/null || exit 77; done
. "$(dirname "$(realpath "$0")")/lib/service.sh"

server=
end_server() {
  if [[ -n $server ]]; then kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi
  server=
}
trap 'end_server; end_service' EXIT
# start_server WORDS...: a server on ./s, until `end_server`.
start_server() {
  rm -f s
  "$@" >server.log 2>&1 &
  server=$!
  for _ in $(seq 1000); do
    if [[ -S s ]]; then return; fi
    kill -0 "$server" || fail "does not start: $(cat server.log)"
    sleep 0.01
  done
  fail "does not start in time: $*"
}
uri='nbd+unix:///?socket=s'

head -c 3M /dev/urandom >data
# use NAME: as a raw disk of 16 MiB of zeros, which gets data; by several forms of its name.
use() {
  local label=$1 i=0
  "$BYRE" io -f raw -c "write -q -s data 1001 2M" -c "write -q -z 5M 2M" -c 'discard -q 8M 1M' -c flush \
    -c 'read -q -P 0 5M 2M' "$uri" || fail "$label: requests"
  for word in "$uri" "nbd:unix:$PWD/s" "json:{'driver':'nbd','server':{'type':'unix','path':'s'}}"; do
    "$BYRE" convert -f raw -O raw "$word" copy.raw || fail "$label: $word"
    ((++i == 1)) || cmp copy.raw first.raw || fail "$label: $word reads otherwise"
    cp copy.raw first.raw
  done
  "$BYRE" convert --image-opts -O raw "driver=nbd,server.type=unix,server.path=s" copy.raw
  cmp copy.raw first.raw || fail "$label: listed"
  cmp -i 1001:0 -n 2M first.raw data || fail "$label: other data"
  # Several requests in flight.
  "$BYRE" io -f raw -c 'aio_write -q -P 1 0 64k' -c 'aio_write -q -P 2 64k 64k' -c 'aio_write -q -P 3 128k 100' \
    -c 'aio_write -q -P 4 200k 64k' -c aio_flush -c 'read -q -P 1 0 64k' -c 'read -q -P 2 64k 64k' \
    -c 'read -q -P 3 128k 100' -c 'read -q -P 4 200k 64k' "$uri" || fail "$label: requests at once"
}

truncate -s 16M disk.raw
start_server qemu-nbd -f raw -t -e 4 -k "$PWD/s" disk.raw
use qemu-nbd
"$BYRE" map --output=json -f raw "$uri" >map.ours
qemu-img map --output=json -f raw "$uri" >map.reference
python3 - <<'END'
import json
ours, reference = (json.load(open(name)) for name in ("map.ours", "map.reference"))
pick = lambda entries: [(e["start"], e["length"], e["zero"], e["data"]) for e in entries]
assert pick(ours) == pick(reference), (ours, reference)
END
end_server

for words in "memory 16M" "--filter=blocksize-policy memory 16M blocksize-minimum=4096 blocksize-error-policy=error" \
  "--filter=noextents --filter=nozero memory 16M" "--filter=fua memory 16M fuamode=emulate"; do
  # shellcheck disable=SC2086  # words
  start_server nbdkit -f -U "$PWD/s" $words
  use "nbdkit $words"
  end_server
done

# A part of a block is read and written back: what is written whole meanwhile is not lost.
start_server nbdkit -f -U "$PWD/s" --filter=blocksize-policy --filter=delay memory 16M delay-write=1 delay-zero=1 \
  blocksize-minimum=4096 blocksize-error-policy=error
for whole in 'aio_write -q -P 2 0 8k' 'aio_write -q -z 0 8k'; do
  pattern=2
  if [[ $whole == *-z* ]]; then pattern=0; fi
  "$BYRE" io -f raw -c 'aio_write -q -P 1 5000 100' -c "$whole" -c aio_flush -c "read -q -P $pattern 0 5000" \
    -c "read -q -P $pattern 5100 3092" "$uri" || fail "lost beside a part of a block: $whole"
done
end_server

# byre's own server, under a name, and read-only.
"$BYRE" create -q -f qcow2 own.qcow2 16M
start_service '^listening on ' serve --socket s --persistent --shared 0 --export-name 'a:b' own.qcow2
"$BYRE" io -f raw -c 'write -q -P 9 100 70k' 'nbd:unix:s:exportname=a:b'
"$BYRE" io -f raw -r -c 'read -q -P 9 100 70k' 'nbd+unix:///a%3Ab?socket=s'
if "$BYRE" info 'nbd:unix:s:exportname=b' 2>/dev/null; then fail "an export that is not there"; fi
finish_service
qemu-img check -q own.qcow2
start_service '^listening on ' serve --socket s --persistent --read-only own.qcow2
if "$BYRE" io -f raw -c 'write 0 512' "$uri" 2>/dev/null; then fail "writes to what is read-only"; fi
"$BYRE" io -f raw -r -c 'read -q -P 9 100 70k' "$uri"
finish_service

# A qcow2 image in an export: written over by convert -n, checked, compared, with a snapshot, and the export's end.
truncate -s 0 disk.raw
truncate -s 16M disk.raw
qemu-img create -q -f qcow2 source.qcow2 4M
"$BYRE" io -c 'write -q -s data 512k 3M' source.qcow2
start_server qemu-nbd -f raw -t -e 4 -k "$PWD/s" disk.raw
qemu-img create -q -f qcow2 "$uri" 4M
"$BYRE" convert -n -f qcow2 -O qcow2 source.qcow2 "$uri"
"$BYRE" convert -n -f qcow2 --target-image-opts source.qcow2 "driver=qcow2,file.driver=nbd,file.path=s"
qemu-img check -q -f qcow2 "$uri" || fail "the described format is forgotten"
if "$BYRE" convert -n -O raw --target-image-opts source.qcow2 "driver=qcow2,file.driver=nbd,file.path=s" 2>log; then
  fail "writes raw bytes over what is described as qcow2"
fi
if "$BYRE" dd -n if=source.qcow2 of="json:{'driver':'qcow2','file':{'driver':'nbd','path':'s'}}" 2>log; then
  fail "dd writes raw bytes over what is described as qcow2"
fi
"$BYRE" snapshot -c one "$uri"
"$BYRE" check -q -f qcow2 "$uri"
qemu-img check -q -f qcow2 "$uri"
"$BYRE" compare -q -f qcow2 -F qcow2 source.qcow2 "$uri"
for words in "-O qcow2" "-O raw -f qcow2" "-O qcow2 -c"; do
  # shellcheck disable=SC2086  # words
  "$BYRE" convert $words source.qcow2 "$uri"
  qemu-img compare -q source.qcow2 "$uri" || qemu-img compare -q -f qcow2 -F raw source.qcow2 "$uri" || fail "$words"
done
"$BYRE" create -q -f qcow2 "$uri" 2M
"$BYRE" info --output=json "$uri" | grep -q '"virtual-size": 2097152' || fail "is not made anew"
"$BYRE" dd -f qcow2 -O qcow2 if=source.qcow2 of="$uri" bs=1M count=2
qemu-img check -q -f qcow2 "$uri"
if "$BYRE" create -q -f raw "$uri" 20M 2>log; then fail "makes what is too long"; fi
end_server
if "$BYRE" convert -U source.qcow2 "json:{'driver':'raw','file.filename':'source.qcow2'}" 2>log; then fail "itself"; fi
if "$BYRE" create -q "json:{'driver':'raw','file.filename':'source.qcow2'}" 1M 2>log; then fail "makes a file so"; fi
qemu-img check -q source.qcow2 || fail "the source is damaged"
truncate -s 1M disk.raw
start_server qemu-nbd -f raw -t -e 4 -k "$PWD/s" disk.raw
qemu-img create -q -f qcow2 "$uri" 4M
if "$BYRE" io -f qcow2 -c 'write -q -P 1 0 2M' "$uri" >log 2>&1; then fail "writes more than there is room for"; fi
grep -q 'No space left' log || fail "does not say why: $(cat log)"
end_server
qemu-img check -q -f qcow2 disk.raw || fail "the image is damaged"

# A relative backing name leads nowhere from there.
qemu-img create -q -f qcow2 -b source.qcow2 -F qcow2 over.qcow2
start_server qemu-nbd -r -f raw -t -e 4 -k "$PWD/s" over.qcow2
if "$BYRE" io -r -f qcow2 -c 'read 0 512' "$uri" 2>log; then fail "follows a relative name"; fi
grep -q 'backing' log || fail "does not say why: $(cat log)"
described=driver=qcow2,file.driver=nbd,file.path=s,backing.driver=qcow2,backing.file.filename=source.qcow2
"$BYRE" compare -q -U --image-opts "$described" "driver=qcow2,file.filename=source.qcow2"
end_server

# The server is killed with requests in flight: each fails, and the tool ends.
start_server nbdkit -f -U "$PWD/s" --filter=delay memory 16M delay-write=30
"$BYRE" io -f raw -c 'aio_write -P 1 0 64k' -c 'aio_write -P 1 64k 64k' -c 'sleep 300' -c aio_flush -c 'read 0 512' \
  "$uri" >log 2>&1 &
tool=$!
sleep 0.2
kill -9 "$server"
code=0
wait "$tool" || code=$?
server=
((code == 1)) || fail "exit code $code after the server was killed"
(($(grep -c 'failed' log) == 3)) || fail "three requests fail: $(cat log)"
