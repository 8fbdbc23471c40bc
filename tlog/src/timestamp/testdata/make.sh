#!/bin/sh
# Makes the timestamps that tests.rs holds against another implementation. Run it here with openssl 3, then put the new
# genTime into tests.rs.
set -eu
out=$(pwd) work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
cd "$work"
cat >ts.cnf <<'CNF'
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[issuing]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign
extendedKeyUsage = timeStamping
[leaf]
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
[v2]
serial = serial
crypto_device = builtin
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
signer_digest = sha256
accuracy = secs:1, millisecs:500
ordering = yes
tsa_name = yes
ess_cert_id_alg = sha256
[v1]
serial = serial
crypto_device = builtin
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
signer_digest = sha512
ess_cert_id_alg = sha1
CNF
issue() { # NAME SECTION ISSUER
    openssl req -new -key "$1.key" -subj "/O=Example/CN=$1" -config /dev/null -out "$1.csr" 2>/dev/null ||
        openssl req -new -key "$1.key" -subj "/O=Example/CN=$1" -out "$1.csr"
    openssl x509 -req -in "$1.csr" -days 36500 -extfile ts.cnf -extensions "$2" -out "$1.pem" \
        $(if [ "$1" = "$3" ]; then echo "-signkey $1.key"; else echo "-CA $3.pem -CAkey $3.key -CAcreateserial"; fi)
}
for name in root issuing leaf; do openssl ecparam -name prime256v1 -genkey -noout -out $name.key; done
openssl genrsa -out rsa.key 2048
issue root ca root
issue issuing issuing root
issue leaf leaf issuing
issue rsa leaf issuing
cat issuing.pem root.pem >above.pem
echo 01 >serial
printf 'the signature bytes' >message
openssl ts -query -data message -sha256 -cert -out query.tsq
openssl ts -reply -config ts.cnf -section v2 -queryfile query.tsq -signer leaf.pem -inkey leaf.key -chain above.pem -out "$out/ecdsa-chain.tsr"
openssl ts -query -data message -sha512 -no_nonce -out query.tsq
openssl ts -reply -config ts.cnf -section v1 -queryfile query.tsq -signer rsa.pem -inkey rsa.key -out "$out/rsa-v1.tsr"
cat leaf.pem above.pem >"$out/ecdsa.pem"
cat rsa.pem above.pem >"$out/rsa.pem"
