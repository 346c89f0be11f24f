#!/bin/bash
# Through a link named qemu-nbd: --object tls-creds-x509 and tls-creds-psk with --tls-creds, as the reference's client
# finds them. Each line is the reference server's too: both serve, or both refuse.
set -euo pipefail
for tool in qemu-nbd qemu-img nbdinfo openssl; do command -v "$tool" >/dev/null || exit 77; done
. "$(dirname "$(realpath "$0")")/lib/certificates.sh"
. "$(dirname "$(realpath "$0")")/lib/service.sh"
ln -s "$(realpath "$BYRE")" qemu-nbd

server=
end_server() {
  if [[ -n $server ]]; then kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi
  server=
}
trap end_server EXIT

# serve PROGRAM WORDS...: on ./s, until `end_server`; false if it refuses.
serve() {
  rm -f s
  "$@" -t -k "$PWD/s" -f qcow2 disk.qcow2 >server.log 2>&1 &
  server=$!
  for _ in $(seq 1000); do
    if [[ -S s ]]; then return 0; fi
    if ! kill -0 "$server" 2>/dev/null; then
      server=
      return 1
    fi
    sleep 0.01
  done
  fail "neither serves nor refuses: $*"
}

gets() {  # CLIENT'S-WORDS: the reference as a client
  timeout 20 qemu-img info "$@" >client.log 2>&1 && grep -q 'virtual size: 32 MiB' client.log
}
as_client() {  # DIRECTORY: of certificates
  gets --object "tls-creds-x509,id=c,dir=$1,endpoint=client" \
    --image-opts driver=nbd,server.type=unix,server.path=s,tls-creds=c,tls-hostname=localhost
}
with_key() {  # DIRECTORY NAME
  gets --object "tls-creds-psk,id=c,dir=$1,username=$2,endpoint=client" \
    --image-opts driver=nbd,server.type=unix,server.path=s,tls-creds=c
}
in_clear() { gets -f raw 'nbd+unix:///?socket=s'; }
answer() { if "$@"; then echo yes; else echo no; fi; }

make_certificates pki
make_certificates others
mkdir without keys wrong
cp pki/ca-cert.pem without/
echo 'alice:00112233445566778899aabbccddeeff' >keys/keys.psk
echo 'alice:ff112233445566778899aabbccddeeff' >wrong/keys.psk
"$BYRE" create -q -f qcow2 disk.qcow2 32M

# What each client gets, by server.
x509() { echo x509: "$(answer as_client pki)" "$(answer as_client others)" \
  "$(answer as_client without)" "$(answer in_clear)"; }
psk() { echo psk: "$(answer with_key keys alice)" "$(answer with_key wrong alice)" "$(answer in_clear)"; }
answers() {  # PROGRAM
  local object verify
  for verify in ',verify-peer=on' ',verify-peer=off' ''; do
    object=tls-creds-x509,id=t,dir=pki,endpoint=server$verify
    serve "$1" --object "$object" --tls-creds t || fail "$object: $(cat server.log)"
    x509
    end_server
  done
  # The reference opens the file of keys when a client comes, from another directory.
  serve "$1" --object "tls-creds-psk,id=k,dir=$PWD/keys,endpoint=server" \
    --object tls-creds-x509,id=t,dir=pki,endpoint=server --tls-creds k || fail "psk: $(cat server.log)"
  psk
  end_server
  local words
  while read -r words; do
    # shellcheck disable=SC2086
    echo "$words: $(answer serve "$1" $words)"
    end_server
  done <<'END'
--tls-creds t
--object tls-creds-x509,id=t,dir=pki,endpoint=server --tls-creds u
--object tls-creds-x509,id=t,endpoint=server --tls-creds t
--object tls-creds-x509,dir=pki,endpoint=server --tls-creds t
--object tls-creds-x509,id=t,dir=nowhere,endpoint=server --tls-creds t
--object tls-creds-psk,id=t,dir=pki,endpoint=server --tls-creds t
--object tls-creds-x509,id=t,dir=pki,endpoint=client --tls-creds t
--object tls-creds-x509,id=t,dir=pki,endpoint=server,colour=red --tls-creds t
--object tls-creds-x509,id=t,dir=pki,endpoint=server,verify-peer=perhaps --tls-creds t
--object no-such-kind,id=t --tls-creds t
END
}
answers ./qemu-nbd >ours
answers /usr/bin/qemu-nbd >theirs
diff theirs ours || fail "the answers differ"
[[ $(head -4 ours) == "x509: yes no no no
x509: yes no yes no
x509: yes no no no
psk: yes no no" ]] || fail "what clients get: $(head -4 ours)"
