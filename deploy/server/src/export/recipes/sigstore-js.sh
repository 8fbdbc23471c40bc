#!/bin/sh
# Signs a statement with the command line of sigstore-js (@sigstore/cli) and verifies it, against @url@ alone. It writes
# to Rekor v1, and reads both.
#
#   sh THIS          signs and verifies;  sh THIS sign,  sh THIS verify: one of the two
#
#   FILE      in-toto statement (JSON) to sign; its bundle becomes FILE.sigstore.json
#   TOKEN     the signer's identity token; in a CI job sigstore finds the job's own
#   IDENTITY  who must have signed, as the certificate says it: an e-mail address, or the URL of a workflow at a ref
#   ISSUER    who vouched for that [default: the first issuer that the instance honours]
#   TRUST     folder with the trust files of the instance [default: where they were exported to]
#   CACHE     folder for what it learns by TUF [default: TRUST/sigstore-js]
#
# In JavaScript: fulcioURL "@ca_url@" and rekorURL "@rekor_url@" for sign and attest, and tsaServerURL;
# tufMirrorURL "@url@/tuf", tufRootPath and tufCachePath for verify.
set -eu
[ -n "${TRUST:-}" ] || TRUST=@trust@
[ -n "${ISSUER:-}" ] || ISSUER=@issuer@@tls_node@
: "${FILE:?FILE names the statement to sign or verify}"

if [ "${1:-}" != verify ]; then
    # With CI set it takes the token from the environment; otherwise it would open a browser.
    if [ -n "${TOKEN:-}" ]; then export CI=true SIGSTORE_ID_TOKEN="$TOKEN"; fi
    sigstore attest --fulcio-url @ca_url@ --rekor-url @rekor_url@@js_tsa@ \
        --output-file "$FILE.sigstore.json" "$FILE"
fi
if [ "${1:-}" != sign ]; then
    case ${IDENTITY:?IDENTITY says who must have signed} in
    *://*) kind=uri ;;
    *) kind=email ;;
    esac
    mkdir -p "${CACHE:=$TRUST/sigstore-js}"
    sigstore verify --tuf-mirror-url @url@/tuf --tuf-root-path "$TRUST/tuf-root.json" \
        --tuf-cache-path "$(cd -- "$CACHE" && pwd)" "--certificate-identity-$kind" "$IDENTITY" \
        --certificate-issuer "$ISSUER" "$FILE.sigstore.json"
fi
