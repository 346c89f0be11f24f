#!/bin/bash
# After a crash counts are expected to be wrong: the result says so, and no longer when they have been repaired.
set -euo pipefail

said='The image was not closed cleanly'
"$BYRE" create -q -f qcow2 -o lazy_refcounts=on image 1M
"$BYRE" io -f qcow2 -c 'write -q 0 64k' -c flush -c 'sigraise 9' image && exit 1

code=0
"$BYRE" check image >out 2>err || code=$?
[[ $code == 2 ]]
grep -q "$said" err

"$BYRE" check -r all image >out 2>err
if grep -q "$said" err; then exit 1; fi
