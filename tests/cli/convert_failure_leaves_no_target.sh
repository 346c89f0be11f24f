#!/bin/bash
# A conversion that fails half-way says why, exits with 1, removes a new target and leaves an old one as it was; one
# that is written in place is emptied; what existed before (-n) stays a consistent image.
set -euo pipefail
BYRE=${BYRE:?}
command -v qemu-img qemu-io >/dev/null || exit 77
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"

failures=0
complain() {
  echo "$*"
  failures=1
}
# fails WORDS ARGUMENT... : with no file above 4 MiB
fails() {
  local words=$1 code=0
  shift
  (
    ulimit -f 4096
    trap '' XFSZ
    "$BYRE" convert "$@"
  ) >/dev/null 2>message || code=$?
  ((code == 1)) || complain "convert $*: exit code $code"
  grep -qi "$words" message || complain "convert $*: message: $(cat message)"
}

head -c 8M /dev/urandom >source.raw
for format in raw qcow2; do
  for options in '' '-W' '-m 1'; do
    # shellcheck disable=SC2086
    fails 'too large' $options -f raw -O $format source.raw target
    [[ ! -e target ]] || complain "the new $format target is still there"
  done
  echo 'former content' >target
  fails 'too large.*the target is as it was' -f raw -O $format source.raw target
  [[ $(cat target) == 'former content' ]] || complain "the old $format target has changed"
  ln target second
  fails 'too large' -f raw -O $format source.raw target
  [[ -e target && ! -s target ]] || complain "the overwritten $format target is not empty"
  rm target second
done
fails 'too large' -c -f raw -O qcow2 source.raw target
[[ ! -e target ]] || complain 'the new compressed target is still there'

qemu-img create -q -f qcow2 kept.qcow2 16M
qemu-io -c 'write -P 5 15M 64k' kept.qcow2 >/dev/null
fails 'incomplete' -n -f raw -O qcow2 source.raw kept.qcow2
qemu-img check kept.qcow2 >check || complain "the kept target is damaged: $(cat check)"
qemu-io -r -c 'read -P 5 15M 64k' kept.qcow2 | grep -q failed && complain 'the kept target lost its own data'

# A source that cannot be read to its end.
truncate -s 1M plain.raw
qemu-img convert -c -S 0 -O qcow2 -f raw plain.raw source.qcow2
head -c 512 /dev/zero | tr '\0' '\377' | dd of=source.qcow2 bs=64k seek=5 conv=notrunc status=none
fails 'compressed' -O qcow2 source.qcow2 target
[[ ! -e target ]] || complain 'the target of a bad source is still there'
[[ $(echo *.partial) == '*.partial' ]] || complain "left behind: $(echo *.partial)"
exit "$failures"
