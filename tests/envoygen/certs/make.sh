#!/bin/sh
# Makes the certificates of these tests: an authority, and a server that is "acme.test"
# and 127.0.0.1. They protect nothing and are trusted by nobody else.
set -eu
cd "$(dirname "$0")"
days=36500
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days $days \
    -subj "/CN=Sluice test authority" -keyout ca.key -out ca.crt \
    -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign"
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
    -subj "/CN=acme.test" -keyout server.key -out server.csr
printf 'subjectAltName=DNS:acme.test,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n' |
    openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -set_serial 1 -days $days \
        -extfile /dev/stdin -out server.crt
rm -f server.csr ca.key
