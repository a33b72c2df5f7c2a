# Certificates in the current folder: an authority, another that signs nothing, the server's, and one of each user.
set -eu
exec 2>openssl.log
key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }
authority() { # FILE NAME
  key "$1.key"
  openssl req -x509 -new -key "$1.key" -out "$1.crt" -days 30 -subj "/CN=$2"
}
issue() { # FILE SUBJECT EXTENSIONS
  key "$1.key"
  openssl req -new -key "$1.key" -out "$1.csr" -subj "$2"
  printf '%s\n' "$3" >"$1.ext"
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile "$1.ext" -out "$1.crt"
}
authority ca test-ca
authority other-ca other-ca
issue server /CN=kube-apiserver 'subjectAltName=IP:127.0.0.1,DNS:localhost
extendedKeyUsage=serverAuth'
issue admin /O=system:masters/CN=admin extendedKeyUsage=clientAuth
issue reader /CN=reader extendedKeyUsage=clientAuth
issue nobody /CN=nobody extendedKeyUsage=clientAuth
key sa.key
