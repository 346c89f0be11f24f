#!/bin/bash
# TLS with certificates and with shared keys, against another implementation of it; who has neither gets nothing.
set -euo pipefail
for tool in nbdinfo nbdcopy openssl; do command -v "$tool" >/dev/null || exit 77; done
. "$(dirname "$(realpath "$0")")/lib/certificates.sh"
. "$(dirname "$(realpath "$0")")/lib/service.sh"

# serve WORDS...: on a port of 127.0.0.1, which `port` is then.
serve() {
  start_service '^listening on ' serve --port 0 --persistent --shared 0 "$@" disk.qcow2
  port=$(sed -n 's/^listening on 127\.0\.0\.1://p' service.log)
}

speaks_tls() { timeout 20 nbdinfo "$1" 2>&1 | grep -q 'with TLS' || fail "$2: $(timeout 20 nbdinfo "$1" 2>&1)"; }
# nbdinfo exits with 0 where it only fails to learn about the export: the size is what it must not get.
gets_nothing() {
  if timeout 20 nbdinfo --size "$1" >out 2>&1; then fail "$2: $(cat out)"; fi
}
copies() {
  nbdcopy "$@" copy.raw
  cmp copy.raw wanted.raw
}

make_certificates pki
make_certificates others
printf '# a comment\nalice:00112233445566778899aabbccddeeff\nbob:%s\n' "$(printf '5a%.0s' {1..32})" >keys
echo 'alice:ff112233445566778899aabbccddeeff' >wrong-keys
echo 'mallory:00112233445566778899aabbccddeeff' >unknown-keys

head -c 9000000 /dev/urandom >data
"$BYRE" create -q -f qcow2 disk.qcow2 32M
"$BYRE" io -c 'write -q -s data 1000 9000000' disk.qcow2
"$BYRE" convert -q -O raw disk.qcow2 wanted.raw

serve --tls-certificates pki --tls-verify-peer
with_certificates="nbds://localhost:$port/?tls-certificates="
speaks_tls "${with_certificates}pki" "a client with a certificate"
copies --connections=4 "${with_certificates}pki"
gets_nothing "${with_certificates}others" "a client of another authority"
mkdir without && cp pki/ca-cert.pem without
gets_nothing "nbds://localhost:$port/?tls-certificates=without" "a client without a certificate"
gets_nothing "nbd://localhost:$port/" "a client without TLS"
finish_service
grep -q 'peer did not return a certificate' service.log || fail "the log does not say why: $(cat service.log)"

serve --tls-certificates pki
copies "nbds://localhost:$port/?tls-certificates=without"
gets_nothing "nbd://localhost:$port/" "TLS is required"
finish_service

serve --tls on --tls-certificates pki
speaks_tls "nbds://localhost:$port/?tls-certificates=without" "TLS is there for those who want it"
copies "nbd://localhost:$port/"
finish_service

# Shared keys, alone and beside certificates, and a write through them.
for more in '' '--tls-certificates pki --tls-verify-peer'; do
  serve --tls-psk keys $more
  speaks_tls "nbds://alice@localhost:$port/?tls-psk-file=keys" "a client with a key"
  copies --connections=3 "nbds://bob@localhost:$port/?tls-psk-file=keys"
  gets_nothing "nbds://alice@localhost:$port/?tls-psk-file=wrong-keys" "a client with a wrong key"
  gets_nothing "nbds://mallory@localhost:$port/?tls-psk-file=unknown-keys" "a client with an unknown name"
  gets_nothing "nbd://localhost:$port/" "a client without TLS"
  nbdcopy wanted.raw "nbds://alice@localhost:$port/?tls-psk-file=keys"
  finish_service
done
qemu-img compare -q -f raw -F qcow2 wanted.raw disk.qcow2

# refused WORDS... -- WHAT: it does not begin to serve, and says so.
refused() {
  local words=()
  while [[ $1 != -- ]]; do words+=("$1"); shift; done
  if timeout 10 "$BYRE" serve --port 0 "${words[@]}" disk.qcow2 >out 2>&1; then fail "serves: ${words[*]}"; fi
  grep -q "$2" out || fail "${words[*]}: $(cat out)"
}
refused --tls require -- 'certificates or a file of keys'
refused --tls sometimes --tls-psk keys -- 'off, on, require'
refused --tls-certificates nowhere -- "nowhere/server-cert.pem"
refused --tls-psk nowhere -- "nowhere"
echo 'alice:xyz' >bad-keys
refused --tls-psk bad-keys -- "line 1"
cp -r pki mixed && cp others/server-key.pem mixed/
refused --tls-certificates mixed -- "mixed/server-key.pem"
