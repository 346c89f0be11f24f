#!/bin/bash
# format.md C-29 to C-35: `byre io` and qemu-io do the same with the same commands and say so in the same words, apart
# from timings, the program's name, and what Byre adds on standard error.
set -euo pipefail
BYRE=${BYRE:?}
command -v qemu-io qemu-img >/dev/null || exit 77
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"

# What differs from run to run and from tool to tool.
mask() {
  sed -E -e 's/ops; .*/ops; TIME/' -e 's/^([0-9]+),1,[0-9].*/\1,1,TIME/' -e 's/^(byre|qemu-io): /PROGRAM: /'
}

failures=0
# same LABEL OPTION... : runs both tools, each on its own copy of start.img, and compares standard output, exit code,
# and what the images read as afterwards.
same() {
  local label=$1
  shift
  mkdir -p reference ours
  cp start.img reference/disk.img
  cp start.img ours/disk.img
  local reference_code=0 our_code=0
  (cd reference && qemu-io "$@" disk.img) </dev/null >reference.raw 2>reference.err || reference_code=$?
  (cd ours && "$BYRE" io "$@" disk.img) </dev/null >ours.raw 2>ours.err || our_code=$?
  mask <reference.raw >reference.out
  mask <ours.raw >ours.out
  if ((reference_code != our_code)); then
    echo "$label: exit code $our_code, expected $reference_code"
    failures=1
  fi
  if ! diff -u reference.out ours.out; then
    echo "$label: other output"
    failures=1
  fi
  # Every diagnostic of the reference has one of ours; we may say more.
  if (($(grep -c . ours.err || true) < $(grep -c . reference.err || true))); then
    echo "$label: fewer diagnostics"
    cat reference.err ours.err
    failures=1
  fi
  local check_code=0
  qemu-img check -q ours/disk.img 2>/dev/null || check_code=$?
  if ((check_code != 0 && check_code != 63)); then # 63: raw
    echo "$label: not clean"
    failures=1
  fi
  if ! qemu-img compare -q reference/disk.img ours/disk.img; then
    echo "$label: other content"
    failures=1
  fi
}

qemu-img create -q -f qcow2 start.img 1M
same 'plain write' -c 'write 0 64k'
same 'dump' -c 'write -P 0x41 100 30' -c 'read -v 96 40'
same 'machine readable' -c 'write -C 0 64k' -c 'write -q 0 64k' -c 'read -C -v 0 17' -c 'read -q -v 0 5'
same 'patterns' -c 'write 0 64k' -c 'read -P 0 0 64k' -c 'read -P 0xcd -s 10 -l 5 0 64k' \
  -c 'read -P 0 -s 10 -l 5 0 64k' -c 'read -P 0 -s 10 0 64k' -c 'read -P 0 -l 10 0 64k' -c 'read -s 10 0 64k'
same 'pattern range' -c 'read -P 0 -s 65536 -l 5 0 64k' -c 'read -P 0 -s 65530 -l 50 0 64k' \
  -c 'read -P 1 -l 100 -s 3 1k 1k' -c 'read -P 1 -l 99999 0 1k' -c 'read -l x -P 7 0 5'
same 'beyond the end' -c 'read 1M 512' -c 'write 1M 512' -c 'write 1048000 1k' -c 'discard 1M 64k' -c 'readv 0 1M 1M'
same 'bad words' -c 'read 0' -c 'read' -c 'read a 5' -c 'read 0 b' -c 'read -x 0 5' -c 'read 0 5 6' -c 'foo' \
  -c 'read -P'
same 'options anywhere' -c 'write 0 64k -P 5' -c 'read 0 5 -v' -c 'write -qP5 0 5' -c 'read -P5 0 5'
same 'write rules' -c 'write -z -P 1 0 5' -c 'write -u 0 5' -c 'write -n 0 5' -c 'write -c -z 0 64k' \
  -c 'write -P 256 0 5' -c 'write -P xx 0 5' -c 'write -c -f 0 64k' -c 'write -s no-such-file 0 5'
same 'compressed' -c 'write -c 64k 64k' -c 'write -c -P 7 128k 64k' -c 'read -P 7 128k 64k' -c 'write -c 65k 64k' \
  -c 'write -c 128k 1k'
same 'zeroes' -c 'write 0 256k' -c 'write -z 128k 1k' -c 'write -z -u 128k 64k' -c 'write -z -n 64k 64k' \
  -c 'write -z -n 0 1k' -c 'write -z -f 192k 64k'
same 'quit' -c foo -c quit -c length
same 'numbers' -c 'read 0x200 0x10' -c 'read 1.5k 0.5k' -c 'read 0 0' -c 'write 0 0' -c 'discard 0 0' -c 'write -z 0 0'
same 'vectors' -c 'writev -P 7 0 1k 2k' -c 'readv -v 0 5 7' -c 'readv 0' -c 'readv 0 z' -c 'readv -P 7 0 1k 2k' \
  -c 'readv -P 8 0 1k 2k' -c 'writev -P 3 0 3G' -c 'readv 0 1500M 1500M'
same 'asynchronous' -c 'aio_write -P 3 0 64k' -c aio_flush -c 'aio_read -P 3 -v 0 20' -c aio_flush \
  -c 'aio_write -z 0 1k' -c aio_flush -c 'aio_read -q 0 5' -c aio_flush -c 'aio_write -z 0 5 5' -c 'aio_write -u 0 5'
same 'asynchronous mismatch' -c 'aio_read -P 4 0 64k' -c aio_flush
same 'asynchronous failure' -c 'aio_write 2M 5' -c aio_flush
same 'many in flight' -c 'aio_write -q -P 1 0 64k' -c 'aio_write -q -P 2 64k 64k' -c 'aio_write -q -P 3 100k 512' \
  -c 'aio_read -q 0 1M' -c 'read -P 0 512k 64k'
same 'discard' -c 'write 0 128k' -c 'discard 0 64k' -c 'discard -q 0 64k' -c 'discard 10 20' -c 'discard x 5' \
  -c 'discard 0 3G' -c map
same 'information' -c 'write 0 192k' -c length -c map -c 'alloc 0' -c 'alloc 0 1M' -c 'alloc 64k 1k' -c info \
  -c 'alloc 0 2M' -c 'alloc 1M' -c 'alloc 2M' -c alloc -c 'alloc x' -c 'alloc 65530 20' -c 'alloc -5'
same 'sleep' -c 'sleep 1' -c sleep -c 'sleep x' -c 'sleep -5'
same 'read-only' -r -c 'write 0 5' -c 'discard 0 64k' -c 'flush' -c 'writev 0 5' -c 'aio_write 0 5' \
  -c 'truncate 5' -c write
same 'open and close' -c close -c length -c close -c 'open disk.img' -c close -c 'open -r disk.img' -c 'write 0 5' \
  -c 'reopen -w' -c 'write 0 5' -c 'reopen -r' -c 'read 0 5' -c 'reopen -r -w' -c open -c 'open disk.img'
same 'help' -c 'help nonsense'
same 'limits' -c 'read 0 2147483136' -c 'read 0 2147483137' -c 'read 0 4G' -c 'write -z 0 3G' -c 'write -z -n 0 3G'
same 'changes thrown away' -s -c 'write -P 5 0 512' -c 'read -P 5 0 512'
same 'blanks' -c '' -c ' ' -c '  length  '
same 'surplus words' -c 'length 5' -c 'map 5' -c 'quit 5' -c 'flush 5'

printf '0123456789abcdef!' >content
same 'content of a file' -c 'write -s ../content 0 100' -c 'read -v 0 100' -c 'write -z -s ../content 0 5'
: >content
same 'empty file' -c 'write -s ../content 0 100'

qemu-img create -q -f qcow2 -o cluster_size=4k start.img 300000
same 'odd size' -c length -c map -c 'write 299000 1000' -c 'write 299500 1000' -c 'alloc 299000 5000' -c map -c info
qemu-img create -q -f qcow2 -o compat=0.10 start.img 10G
same 'version 2' -c length -c 'write 9G 5' -c map -c info

rm start.img
truncate -s 1000k start.img
same 'raw' -f raw -c length -c map -c 'alloc 0 1M' -c info -c 'write 0 512' -c 'write -c 0 512' -c 'write -z -u 0 4k' \
  -c 'truncate 2M' -c length -c 'truncate 1.5M' -c length -c 'write -P 3 1M 64k'
exit "$failures"
