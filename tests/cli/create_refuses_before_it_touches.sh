#!/bin/bash
# create says what is wrong with its options, by name and with exit code 1, and leaves an existing file as it was.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"

"$BYRE" create -q -f qcow2 base 1M
"$BYRE" create -q -f qcow2 -b base -F qcow2 overlay
echo precious > victim
before=$(cat victim base overlay | sha256sum)

refuses() { # expected text, arguments...
  local expected=$1 status=0
  shift
  "$BYRE" create "$@" > output 2> error || status=$?
  [[ $status == 1 ]] || { echo "exit $status: create $*" && exit 1; }
  grep -q '^byre: ' error || { echo "no diagnostic: create $*" && exit 1; }
  grep -qF -- "$expected" error || { echo "create $*: expected '$expected', got: $(cat error)" && exit 1; }
  [[ ! -s output ]] || { echo "printed: create $*: $(cat output)" && exit 1; }
  [[ $(cat victim base overlay | sha256sum) == "$before" ]] || { echo "changed a file: create $*" && exit 1; }
}

refuses 'cluster_size=3072' -f qcow2 -o cluster_size=3k victim 1M
refuses 'refcount_bits=3' -f qcow2 -o refcount_bits=3 victim 1M
refuses 'compat=0.9' -f qcow2 -o compat=0.9 victim 1M
refuses 'compat=1.1' -f qcow2 -o compat=0.10,lazy_refcounts=on victim 1M
refuses 'compat=1.1' -f qcow2 -o compat=v2,compression_type=zstd victim 1M
refuses 'compression_type=lzma' -f qcow2 -o compression_type=lzma victim 1M
refuses 'preallocation=some' -f qcow2 -o preallocation=some victim 1M
refuses 'preallocation=metadata' -f raw -o preallocation=metadata victim 1M
refuses "'clutser_size'" -f qcow2 -o clutser_size=4k victim 1M
refuses "'cluster_size'" -f raw -o cluster_size=4k victim 1M
refuses 'extended_l2' -f qcow2 -o extended_l2=on victim 1M
refuses 'data_file' -f qcow2 -o data_file=d victim 1M
refuses 'encrypt.format' -f qcow2 -o encrypt.format=luks victim 1M
refuses 'encryption' -f qcow2 -o encryption=on victim 1M
refuses '128 GiB' -f qcow2 -o cluster_size=512 victim 129G
refuses 'refcount table' -f qcow2 -o cluster_size=512,preallocation=metadata victim 128G
refuses 'size' -f qcow2 victim
refuses 'size' -f qcow2 -o size=1M victim 2M
refuses "invalid size '1Q'" -f qcow2 victim 1Q
refuses "invalid size '-1'" -f qcow2 victim -1
refuses "unknown format 'vmdk'" -f vmdk victim 1M
refuses '-F qcow2' -f qcow2 -b base victim
refuses 'without a backing file' -f qcow2 -F qcow2 victim 1M
refuses "backing format 'vmdk'" -f qcow2 -b base -F vmdk victim
refuses 'missing' -f qcow2 -b missing -F qcow2 victim 1M
refuses 'size' -f qcow2 -u -b missing -F qcow2 victim
refuses 'twice' -f qcow2 -b base -F qcow2 -o backing_file=overlay victim
refuses 'not a plain file name' -f qcow2 -b nbd:host -F raw victim 1M
refuses 'preallocation=full' -f qcow2 -o preallocation=full -b base -F qcow2 victim
refuses 'no backing file' -f raw -o size=1M -b base victim
# An image may not become part of its own backing chain, whatever it is called.
refuses 'backing chain' -f qcow2 -b overlay -F qcow2 base
refuses 'backing chain' -f qcow2 -b ./victim -F raw victim
# A name that does not fit into the header cluster.
refuses 'cluster' -f qcow2 -o cluster_size=512 -u -b "$(printf 'x%.0s' {1..1000})" -F raw victim 1M
refuses '--zork' --zork victim 1M

"$BYRE" create -f qcow2 -o help > output
grep -q '^  cluster_size=<size> ' output
"$BYRE" create -q -f qcow2 -o backing_file=base,backing_fmt=qcow2 -o nocow=on,extent_size_hint=1M victim
"$BYRE" info --output=json victim | grep -q '"backing-filename": "base"'
