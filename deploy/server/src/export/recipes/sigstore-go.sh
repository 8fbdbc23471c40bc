#!/bin/sh
# Signs FILE with sigstore-go's example programs and verifies it, against @url@ alone.
#
#   sh THIS          signs and verifies;  sh THIS sign,  sh THIS verify: one of the two
#
#   FILE      what to sign; its bundle becomes FILE.sigstore.json
#   TOKEN     the signer's identity token
#   IDENTITY  who must have signed, as the certificate says it: an e-mail address, or the URL of a workflow at a ref
#   ISSUER    who vouched for that [default: the first issuer that the instance honours]
#   TRUST     folder with the trust files of the instance [default: where they were exported to]
#
# In Go: root.NewTrustedRootFromPath and root.NewSigningConfigFromPath read the same two files.
set -eu
[ -n "${TRUST:-}" ] || TRUST=@trust@
[ -n "${ISSUER:-}" ] || ISSUER=@issuer@@tls_go@
: "${FILE:?FILE names what to sign or verify}"

if [ "${1:-}" != verify ]; then
    # The program writes the bundle, in one line, after the certificate for people.
    said=$(sigstore-go-signing -id-token "${TOKEN:?TOKEN is the identity token of the signer}" \
        -signing-config "$TRUST/signing_config.json" -trusted-root "$TRUST/trusted_root.json" -rekor@go_tsa@ "$FILE")
    printf '%s\n' "$said" | sed -n '/^{/p' >"$FILE.sigstore.json"
fi
if [ "${1:-}" != sign ]; then
    sigstore-go-verification -trustedrootJSONpath "$TRUST/trusted_root.json" -artifact "$FILE" \
        -expectedSAN "${IDENTITY:?IDENTITY says who must have signed}" -expectedIssuer "$ISSUER" \
        "$FILE.sigstore.json"
fi
