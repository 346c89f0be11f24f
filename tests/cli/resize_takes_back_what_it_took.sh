#!/bin/bash
# Growing that fails for want of space leaves the disk as it was, and gives the space back: for whatever else needs it,
# and for the image itself, which could not even be closed cleanly.
set -euo pipefail
BYRE=${BYRE:?}
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
ulimit -c 0

for mode in full falloc metadata; do
  "$BYRE" create -q -f qcow2 image 64M
  "$BYRE" io -c 'write -q -P 7 60M 4M' image
  before=$(stat -c %s image)
  # blocks of 1 KiB: room for the tables, and a little more
  if (ulimit -f $((before / 1024 + 1024)) && "$BYRE" resize -q --preallocation=$mode image 1G) 2>error; then
    echo "$mode: it fitted"
    exit 1
  fi
  grep -q '^byre: image: ' error
  after=$(stat -c %s image)
  ((after <= before + 256 * 1024)) || { echo "$mode: $before bytes before, $after after"; exit 1; }
  "$BYRE" check image >/dev/null
  "$BYRE" info image | grep -q '(67108864 bytes)'
  if "$BYRE" info image | grep -q dirty; then echo "$mode: left dirty"; exit 1; fi
  "$BYRE" io -r -c 'read -q -P 0 0 60M' -c 'read -q -P 7 60M 4M' image
  "$BYRE" resize -q --preallocation=metadata image 1G
  "$BYRE" check image >/dev/null
  rm image
done
