#!/bin/bash
# Through a link called qemu-io: both tools on the same command lines and sessions; exit code, standard output (times
# left out), whether there is something on standard error, and the image afterwards.
set -euo pipefail
for tool in qemu-io qemu-img; do command -v "$tool" >/dev/null || exit 77; done
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
mkdir ours
ln -s "$(realpath "${BYRE:?}")" ours/qemu-io
failures=0
qemu-img create -q -f qcow2 first.qcow2 1M
qemu-io -c 'write -q -P 5 64k 128k' first.qcow2

# run TOOL LABEL WORDS...: on a copy, with the session on standard input.
run() {
  local tool=$1 label=$2 code=0
  shift 2
  cp first.qcow2 disk.qcow2
  timeout 20 "$tool" "$@" <session >"$label.out" 2>"$label.err" || code=$?
  sed -i -E 's/; [0-9:.]+ sec \(.*/; TIME/; s/^Command "[^"]*"/Command/' "$label.out"
  { echo "exit code $code" && [[ -s $label.err ]] && echo "said something"; } >>"$label.out" || true
  cp disk.qcow2 "$label.qcow2"
}
agree() {
  run qemu-io theirs "$@"
  run ours/qemu-io ours "$@"
  if ! diff theirs.out ours.out >difference; then
    echo "qemu-io $* <<<$(cat session): $(cat difference ours.err)"
    failures=1
  fi
  qemu-img compare -q theirs.qcow2 ours.qcow2 || { echo "qemu-io $*: another image" && failures=1; }
}

: >session
while IFS= read -r line; do
  eval "words=($line)"
  agree "${words[@]}"
done <<'LINES'
-c length disk.qcow2
-c 'read -P 5 64k 128k' -c 'write -P 1 0 64k' disk.qcow2
-f qcow2 -c 'read -v 64k 32' disk.qcow2
-c 'read -P 6 64k 4k' -c length disk.qcow2
-r -c 'write 0 4k' -c length disk.qcow2
-s -c 'write -q 0 4k' -c 'read -q -P 0xcd 0 4k' disk.qcow2
-n -c length disk.qcow2
-t directsync -c 'write -q -P 3 0 4k' disk.qcow2
-t often -c length disk.qcow2
-d unmap -c 'discard -q 64k 64k' disk.qcow2
-d perhaps -c length disk.qcow2
-i threads -c length disk.qcow2
-i slowly -c length disk.qcow2
-m -c length disk.qcow2
-C -c 'read -q 0 64k' disk.qcow2
-U -r -c length disk.qcow2
-T nothing -c length disk.qcow2
-c quit -c length disk.qcow2
-c 'nothing' -c length disk.qcow2
-c 'open disk.qcow2' -c length -c close -c length
-c 'open -r disk.qcow2' -c 'write 0 1k'
-c 'open missing.qcow2'
-c 'open disk.qcow2' disk.qcow2
-c 'reopen -r' -c 'write 0 1k' disk.qcow2
-c 'write -q -p 0 1k' -c 'read -p 0 1k' disk.qcow2
-c 'aio_write -q -P 2 0 4k' -c aio_flush -c 'read -q -P 2 0 4k' disk.qcow2
-c 'truncate 2M' -c length disk.qcow2
-c 'alloc 64k 256k' -c map disk.qcow2
-c 'sigraise 15' disk.qcow2
--image-opts -c length driver=qcow2,file.filename=disk.qcow2
-c length missing.qcow2
-c 'write -b -P 5 10k 100k' -c 'read -b -P 5 10k 100k' -c 'read -b -P 0 0 10k' -c 'read -b -v 109k 2k' disk.qcow2
-c 'write -b -P 5 0 1M' -c 'read -P 0 0 64k' -c 'write -P 3 0 1M' -c 'read -b -P 5 0 1M' disk.qcow2
-c 'write -b -z 0 64k' -c 'write -b -f 0 64k' -c 'write -b -c 0 64k' -c 'write -b -u 0 1k' disk.qcow2
-c 'write -b 1 512' -c 'write -b 0 100' -c 'read -b 1 512' -c 'read -b 0 100' -c 'write -c 1 512' disk.qcow2
-r -c 'write -b 0 512' -c 'read -b -P 0 0 512' disk.qcow2
-c 'read -b 8T 512' -c 'write -b 7E 512' disk.qcow2
LINES

for session in 'length\nread -P 5 64k 64k\nquit\nlength\n' 'nothing\n\nlength' \
  'write -P 9 0 64k\nread -P 8 0 64k\n' ''; do
  # shellcheck disable=SC2059  # it is a format: newlines
  printf "$session" >session
  agree disk.qcow2
done
exit "$failures"
