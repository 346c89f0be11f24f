#!/bin/bash
# A standard stream that is closed or cannot be written, a reader that went away and the limit of file sizes end in an
# exit code, never in a signal, and no diagnostic lands in an image.
set -euo pipefail
BYRE=${BYRE:?}
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
ulimit -c 0

failures=0
# exits CODE LABEL COMMAND: the command is a line of shell.
exits() {
  local expected=$1 label=$2 code=0
  bash -c "$3" >output 2>error </dev/null || code=$?
  ((code == expected)) && return
  echo "$label: exit code $code, expected $expected: $(cat error)"
  failures=1
}
head -c 1M /dev/urandom >source.raw
"$BYRE" create -q -f qcow2 image 1M

exits 1 'an error, standard error closed' "$BYRE info missing 2>&-"
exits 1 'an error, standard error full' "$BYRE info missing 2>/dev/full"
exits 1 'wrong options, standard error full' "$BYRE info --zork 2>/dev/full"
exits 1 'io, standard error closed' "$BYRE io -c zork image 2>&-"
exits 1 'standard output closed' "$BYRE info image >&-"
grep -q 'standard output: Bad file descriptor' error
exits 1 'standard output full' "$BYRE io -c length image >/dev/full"
grep -q 'standard output: No space left' error
exits 0 'standard input closed' "$BYRE io image <&-"
mkfifo pipe
exits 1 'the reader went away' "exec 3<>pipe 4>pipe 3<&-; $BYRE map image >&4"
grep -q 'standard output: Broken pipe' error

# Every stream closed: neither image may become one of them.
exits 0 'no streams' "$BYRE convert -f raw source.raw copy.raw <&- >&- 2>&-"
cmp source.raw copy.raw
before=$(sha256sum <image)
exits 1 'no streams, an error' "$BYRE io -c 'read 5M 5' -c zork image <&- >&- 2>&-"
[[ $(sha256sum <image) == "$before" ]] || { echo 'a diagnostic was written into the image' && exit 1; }

# Files may grow to 100 KiB; the signal that tells so is not ignored by the shell.
exits 1 'a limit for create' "ulimit -f 100; $BYRE create -f qcow2 new 1G"
exits 1 'a limit for convert' "ulimit -f 100; $BYRE convert -f raw -O qcow2 source.raw new"
grep -q 'File too large' error
exits 1 'a limit for raw' "ulimit -f 100; $BYRE convert -f raw -O raw source.raw new"
[[ ! -e new ]] || { echo 'an unfinished target was left' && exit 1; }
exits 1 'a limit for io' "ulimit -f 100; $BYRE io -c 'write 512k 64k' image"
exit "$failures"
