#!/bin/bash
# SIGINT and SIGTERM end a conversion with exit code 1: a new target is gone, an old one is as it was, one that is
# written in place is empty, one that was there before (-n) stays a consistent image.
set -euo pipefail
BYRE=${BYRE:?}
command -v qemu-img qemu-io >/dev/null || exit 77
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"

# Quick to make, long to compress.
truncate -s 4G source.raw
failures=0
complain() {
  echo "$*"
  failures=1
}

# interrupt SIGNAL TARGET GROWS ARGUMENT... : starts it, waits until the file GROWS does so, sends the signal.
interrupt() {
  local signal=$1 target=$2 grows=$3 code=0
  shift 3
  local before
  before=$(stat -c %s "$grows" 2>/dev/null || echo 0)
  "$BYRE" convert -S 0 -c -m 1 -f raw -O qcow2 "$@" source.raw "$target" 2>message &
  local pid=$!
  until [[ $(stat -c %s "$grows" 2>/dev/null || echo 0) -gt $((before + 300000)) ]]; do
    kill -0 $pid 2>/dev/null || break
    sleep 0.02
  done
  kill -s "$signal" $pid || complain "$signal: it had ended already"
  wait $pid || code=$?
  ((code == 1)) || complain "$signal: exit code $code"
  grep -q interrupted message || complain "$signal: message: $(cat message)"
}

interrupt INT new.qcow2 new.qcow2.partial
[[ ! -e new.qcow2 ]] || complain 'SIGINT: the new target is still there'
interrupt TERM new.qcow2 new.qcow2.partial
[[ ! -e new.qcow2 ]] || complain 'SIGTERM: the new target is still there'

echo 'former content' >old.qcow2
interrupt INT old.qcow2 old.qcow2.partial
[[ $(cat old.qcow2) == 'former content' ]] || complain 'SIGINT: the old target has changed'
: >old.qcow2
ln old.qcow2 second.qcow2
interrupt INT old.qcow2 old.qcow2
[[ -e old.qcow2 && ! -s old.qcow2 ]] || complain 'SIGINT: the overwritten target is not empty'

qemu-img create -q -f qcow2 kept.qcow2 8G
qemu-io -c 'write -P 5 7G 1M' kept.qcow2 >/dev/null
interrupt INT kept.qcow2 kept.qcow2 -n
qemu-img check -q kept.qcow2 || complain 'SIGINT: the kept target is not clean'
qemu-io -r -c 'read -P 5 7G 1M' kept.qcow2 | grep -q failed && complain 'SIGINT: the kept target lost its own data'
[[ $(echo *.partial) == '*.partial' ]] || complain "left behind: $(echo *.partial)"
exit "$failures"
