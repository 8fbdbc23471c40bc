#!/bin/sh
# Signs FILE with cosign 3 and verifies it, against @url@ alone.
#
#   sh THIS          signs and verifies;  sh THIS sign,  sh THIS verify: one of the two
#
#   FILE      what to sign; its bundle becomes FILE.sigstore.json
#   TOKEN     the signer's identity token, or a file that holds it; in a CI job cosign finds the job's own
#   IDENTITY  who must have signed, as the certificate says it: an e-mail address, or the URL of a workflow at a ref
#   ISSUER    who vouched for that [default: the first issuer that the instance honours]
#   TRUST     folder with the trust files of the instance [default: where they were exported to]
#
# Images: the same flags with `cosign sign IMAGE` and `cosign verify IMAGE`. Provenance and other statements: with
# `attest`, `attest-blob` and their verifiers. Without TOKEN and outside CI cosign lets a person log in.
set -eu
[ -n "${TRUST:-}" ] || TRUST=@trust@
[ -n "${ISSUER:-}" ] || ISSUER=@issuer@@tls_go@
: "${FILE:?FILE names what to sign or verify}"

if [ "${1:-}" != verify ]; then
    cosign sign-blob --yes ${TOKEN:+--identity-token "$TOKEN"} \
        --signing-config "$TRUST/signing_config.json" --trusted-root "$TRUST/trusted_root.json" \
        --bundle "$FILE.sigstore.json" "$FILE"
fi
if [ "${1:-}" != sign ]; then
    cosign verify-blob --trusted-root "$TRUST/trusted_root.json" --bundle "$FILE.sigstore.json" \
        --certificate-identity "${IDENTITY:?IDENTITY says who must have signed}" \
        --certificate-oidc-issuer "$ISSUER" "$FILE"
fi
