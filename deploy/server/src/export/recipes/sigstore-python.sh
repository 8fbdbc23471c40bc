#!/bin/sh
# Signs FILE with sigstore-python 4 and verifies it, against @url@ alone.
#
#   sh THIS          signs and verifies;  sh THIS sign,  sh THIS verify: one of the two
#
#   FILE      what to sign; its bundle becomes FILE.sigstore.json
#   TOKEN     the signer's identity token; in a CI job sigstore finds the job's own
#   IDENTITY  who must have signed, as the certificate says it: an e-mail address, or the URL of a workflow at a ref
#   ISSUER    who vouched for that [default: the first issuer that the instance honours]
#   TRUST     folder with the trust files of the instance [default: where they were exported to]
#
# In Python: ClientTrustConfig.from_json(Path(TRUST, "client_trust_config.json").read_text()).
set -eu
[ -n "${TRUST:-}" ] || TRUST=@trust@
[ -n "${ISSUER:-}" ] || ISSUER=@issuer@@tls_python@
: "${FILE:?FILE names what to sign or verify}"

if [ "${1:-}" != verify ]; then
    sigstore --trust-config "$TRUST/client_trust_config.json" sign ${TOKEN:+--identity-token "$TOKEN"} \
        --overwrite --bundle "$FILE.sigstore.json" "$FILE"
fi
if [ "${1:-}" != sign ]; then
    sigstore --trust-config "$TRUST/client_trust_config.json" verify identity --offline \
        --bundle "$FILE.sigstore.json" --cert-identity "${IDENTITY:?IDENTITY says who must have signed}" \
        --cert-oidc-issuer "$ISSUER" "$FILE"
fi
