#!/bin/bash
# Through a link, the tool calls itself by the link's name and takes that tool's command line; by any other name it is
# byre. drop_in.py looks at qemu-img closely.
set -euo pipefail
BYRE=${BYRE:?}
cd "${TEST_DIR:?}"
for name in qemu-img qemu-io qemu-nbd other; do ln -s "$(realpath "$BYRE")" "$name"; done
failures=0
# says CODE TEXT COMMAND...: exits so, and prints the text somewhere.
says() {
  local code=$1 expected=$2 output status=0
  shift 2
  output=$("$@" 2>&1) || status=$?
  if ((status == code)) && grep -qF -- "$expected" <<<"$output"; then return; fi
  echo "$*: exit code $status, expected $code and '$expected', got: $output"
  failures=1
}
says 0 "Formatting 'disk', fmt=qcow2" ./qemu-img create -fqcow2 disk 1M
says 1 'qemu-img: Command not found: serve' ./qemu-img serve disk
says 1 "qemu-img: unrecognized option '--errors'" ./qemu-img info --errors json disk
says 1 "qemu-img: unrecognized option '-Z'" ./qemu-img info -UZ disk
says 1 'qemu-img: info: option --object is not supported yet' ./qemu-img info --object secret,id=s,data=x disk
says 1 "Try 'qemu-img --help'" ./qemu-img
says 0 '[-f fmt] [--output=ofmt]' ./qemu-img info --help
says 1 '"code":"invalid-argument"' env BYRE_ERRORS=json ./qemu-img info

says 0 'qemu-io version 7.2' ./qemu-io --version
says 0 'read 16/16 bytes at offset 0' ./qemu-io -c 'read 0 16' disk
says 1 "qemu-io: can't open device missing" ./qemu-io -c length missing
says 0 'Usage: qemu-io [OPTIONS]' ./qemu-io --help
says 1 "Try 'qemu-io --help'" ./qemu-io --zork
says 0 'qemu-nbd version 7.2' ./qemu-nbd -V
says 1 'qemu-nbd: ' ./qemu-nbd missing
says 0 'Usage: qemu-nbd [OPTIONS]' ./qemu-nbd --help

says 0 'byre 0.' ./other --version
says 1 'byre: missing: ' ./other info missing
says 0 'qemu-img, not there yet:' ./other help drop-in
if [[ $(./qemu-nbd --help; ./qemu-io --help) == *byre\ serve* ]]; then echo 'help says byre serve' && failures=1; fi
exit "$failures"
