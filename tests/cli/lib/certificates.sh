# make_certificates DIR: an authority, and a server and a client that it vouches for, for localhost and 127.0.0.1.
make_certificates() {
  local directory=$1 who
  mkdir -p "$directory"
  openssl req -x509 -newkey rsa:2048 -nodes -keyout "$directory/ca-key.pem" -out "$directory/ca-cert.pem" -days 2 \
    -subj /CN=authority 2>/dev/null
  printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\n' >"$directory/names"
  for who in server client; do
    openssl req -newkey rsa:2048 -nodes -keyout "$directory/$who-key.pem" -out "$directory/$who.csr" \
      -subj "/CN=$who" 2>/dev/null
    openssl x509 -req -in "$directory/$who.csr" -CA "$directory/ca-cert.pem" -CAkey "$directory/ca-key.pem" \
      -CAcreateserial -days 2 -extfile "$directory/names" -out "$directory/$who-cert.pem" 2>/dev/null
  done
}
