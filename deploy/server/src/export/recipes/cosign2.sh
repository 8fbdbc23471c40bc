#!/bin/sh
# Signs FILE with cosign 2 and verifies it, against @url@ alone. cosign 2 speaks Rekor v1.
#
#   sh THIS          signs and verifies;  sh THIS sign,  sh THIS verify: one of the two
#
#   FILE      what to sign; its bundle becomes FILE.cosign.bundle
#   TOKEN     the signer's identity token, or a file that holds it; in a CI job cosign finds the job's own
#   IDENTITY  who must have signed, as the certificate says it: an e-mail address, or the URL of a workflow at a ref
#   ISSUER    who vouched for that [default: the first issuer that the instance honours]
#   TRUST     folder with the trust files of the instance [default: where they were exported to]
#
# Images: the same environment and flags with `cosign sign IMAGE` and `cosign verify IMAGE`. Bundles of the new format,
# such as those of cosign 3 and chancery, want `--new-bundle-format --trusted-root "$TRUST/trusted_root.json"` instead;
# those of Rekor v2 cosign 2 cannot read. Without TOKEN and outside CI a person logs in at the provider that `--oidc-issuer`
# names; without the flag cosign 2 would ask the public Sigstore.
set -eu
[ -n "${TRUST:-}" ] || TRUST=@trust@
[ -n "${ISSUER:-}" ] || ISSUER=@issuer@@tls_go@
: "${FILE:?FILE names what to sign or verify}"

@cosign2_trust@

if [ "${1:-}" != verify ]; then
    cosign sign-blob --yes ${TOKEN:+--identity-token "$TOKEN"} --fulcio-url @ca_url@ --rekor-url @rekor_url@@cosign_login@ \
        --bundle "$FILE.cosign.bundle" "$FILE"
fi
if [ "${1:-}" != sign ]; then
    cosign verify-blob --rekor-url @rekor_url@ --bundle "$FILE.cosign.bundle" \
        --certificate-identity "${IDENTITY:?IDENTITY says who must have signed}" \
        --certificate-oidc-issuer "$ISSUER" "$FILE"
fi
