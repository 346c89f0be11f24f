#!/bin/bash
# An image that another program holds open is not overwritten (docs/format.md Appendix C).
set -euo pipefail
command -v qemu-io > /dev/null || exit 77
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
"$BYRE" create -q -f qcow2 image 1M
before=$(sha256sum < image)
mkfifo commands
qemu-io image < commands > answers 2>&1 &
holder=$!
exec 3> commands
echo 'read 0 512' >&3
for ((i = 0; i < 200; i++)); do
  if grep -q 'read 512/512' answers; then break; fi
  sleep 0.05
done
grep -q 'read 512/512' answers
status=0
"$BYRE" create -q -f qcow2 image 2M 2> error || status=$?
exec 3>&-
wait "$holder"
[[ $status == 1 ]]
grep -q '^byre: ' error
[[ $(sha256sum < image) == "$before" ]]
"$BYRE" create -q -f qcow2 image 2M
