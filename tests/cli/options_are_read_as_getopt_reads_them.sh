#!/bin/bash
# Options may come again (the last counts), share a word, stand behind positional arguments, and end at "--"; what is
# no option is named.
set -euo pipefail
BYRE=${BYRE:?}
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"

failures=0
# says TEXT ARGUMENT...: succeeds and prints it.
says() {
  local expected=$1 output
  shift
  output=$("$BYRE" "$@" 2>&1) && grep -qF -- "$expected" <<<"$output" && return
  echo "byre $*: expected '$expected', got: $output"
  failures=1
}
fails() {
  local expected=$1 output code=0
  shift
  output=$("$BYRE" "$@" 2>&1) || code=$?
  ((code == 1)) && grep -qF -- "$expected" <<<"$output" && return
  echo "byre $*: exit code $code, expected '$expected', got: $output"
  failures=1
}
says 'fmt=raw' create -f qcow2 -f raw image 1M
says 'fmt=qcow2 cluster_size=4096' create -f raw -f qcow2 -o cluster_size=64k -o cluster_size=4k image 1M
says 'refcount_bits=8' create -f qcow2 -o refcount_bits=16,refcount_bits=0x8 image 1M
says '"filename": "image"' info --output=human --output=json image
says '' convert -m 2 -m 4 -S 0 -S 4k -t none -t unsafe -W -W -f raw -f qcow2 -O raw -O qcow2 image copy
says '' convert -qpf qcow2 -Oqcow2 image copy
says '' convert image copy -O qcow2 -f qcow2
says '1 MiB' io -f raw -f qcow2 -rc length image

says '' convert -O qcow2 image -- copy
says '' convert -O qcow2 -- image copy
says 'image: copy' info copy --
says '' convert -f qcow2 -O qcow2 -- image -copy
says 'image: -copy' info -- -copy
says 'fmt=qcow2' -- create -f qcow2 image 1M
says 'read 16/16' io -c 'read -- 0 16' image

fails "unknown option '--zork'" info --zork image
fails "unknown option '-Z'" convert -Z image copy
fails "unexpected argument '3'" create -f qcow2 new 1M 3
fails 'list of options is empty' create -f qcow2 -o '' new 1M
fails 'last comma' create -f qcow2 -o cluster_size=4k, new 1M
fails 'new: cluster_size=256' create -f qcow2 -o cluster_size=256 new 1M
fails 'refcount_bits=128' create -f qcow2 -o refcount_bits=128 new 1M
fails 'copy: option data_file' convert -O qcow2 -o data_file=d image copy
fails 'argument too large -- 9E' io -c 'read 9E 5' image
fails 'Is a directory' io -c 'write -s . 0 5' image
[[ ! -e new ]] || { echo 'a refused image was made' && exit 1; }
exit "$failures"
