#!/bin/bash
# info opens nothing but the named file; --backing-chain follows names only as far as it may (format.md H-49 to H-51).
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
mkdir images outside

must_fail() { # expected text, command...
  local expected=$1 output
  shift
  if output=$("$@" 2>&1); then
    echo "succeeded: $*" && exit 1
  fi
  grep -qF -- "$expected" <<< "$output" || { echo "expected '$expected', got: $output" && exit 1; }
}

"$BYRE" create -q -f qcow2 images/base 1M
"$BYRE" create -q -f qcow2 -b base -F qcow2 images/middle
"$BYRE" create -q -f qcow2 -b middle -F qcow2 images/top
chain=$("$BYRE" info --backing-chain images/top)
grep -qF '    images/top: qcow2, 1 MiB' <<< "$chain"
grep -qF '    `- images/middle: qcow2, 1 MiB' <<< "$chain"
grep -qF '       `- images/base: qcow2, 1 MiB' <<< "$chain"
grep -qE '^    images/top: qcow2, .* on disk, 0.00% allocated$' <<< "$chain"
"$BYRE" info --backing-chain --backing-dir images images/top > /dev/null

# Two images that name each other.
"$BYRE" create -q -f qcow2 -u -b loop_b -F qcow2 loop_a 1M
"$BYRE" create -q -f qcow2 -u -b loop_a -F qcow2 loop_b 1M
"$BYRE" info loop_a > /dev/null
must_fail 'loop' "$BYRE" info --backing-chain loop_a

# A missing member, a name that leads out, one that is no plain file, and one without a format.
"$BYRE" create -q -f qcow2 -u -b missing -F qcow2 orphan 1M
"$BYRE" info orphan > /dev/null
must_fail 'missing' "$BYRE" info --backing-chain orphan
"$BYRE" create -q -f raw outside/secret 1M
"$BYRE" create -q -f qcow2 -b ../outside/secret -F raw images/escape
"$BYRE" info --backing-chain images/escape > /dev/null
must_fail 'outside/secret' "$BYRE" info --backing-chain --backing-dir images images/escape
mkfifo pipe
"$BYRE" create -q -f qcow2 -u -b pipe -F raw to_pipe 1M
must_fail 'pipe' "$BYRE" info --backing-chain to_pipe
[[ $("$BYRE" info --backing-chain --no-backing to_pipe --output=json | grep -c '"filename"') == 1 ]]
"$BYRE" create -q -f qcow2 -b images/base -F qcow2 formatless
# The extension that records the format becomes one that nobody knows.
LC_ALL=C sed -i 's/\xe2\x79[*]\xca/\x12\x34\x56\x78/' formatless
before=$(sha256sum < formatless)
for command in "info --backing-chain formatless" "map formatless" "convert formatless copy" "measure formatless" \
  "compare formatless images/base" "io -c length formatless"; do
  # shellcheck disable=SC2086
  must_fail '--backing-format' "$BYRE" $command
  # shellcheck disable=SC2086
  "$BYRE" $command --backing-format qcow2 > /dev/null
done
[[ $(sha256sum < formatless) == "$before" ]]
