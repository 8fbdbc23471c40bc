#!/bin/sh
# Makes git sign with gitsign against @url@ alone, and verifies what was signed. gitsign speaks Rekor v1.
#
#   sh THIS          sets up the repository in the current folder
#   git commit …     then signs, with the token of the CI job, or SIGSTORE_ID_TOKEN, or a login
#   sh THIS verify   verifies COMMIT
#
#   COMMIT    what to verify [default: HEAD]
#   IDENTITY  who must have signed, as the certificate says it: an e-mail address, or the URL of a workflow at a ref
#   ISSUER    who vouched for that [default: the first issuer that the instance honours]
#   TRUST     folder with the trust files of the instance [default: where they were exported to]; it has to stay there
#
# git is given TRUST/gitsign, which is gitsign with the trust of this instance: what the user's other repositories and
# cosign trust stays as it is.
set -eu
[ -n "${TRUST:-}" ] || TRUST=@trust@
[ -n "${ISSUER:-}" ] || ISSUER=@issuer@
TRUST=$(cd -- "$TRUST" && pwd)@tls_go@

if [ "${1:-}" != verify ]; then
    cat >"$TRUST/gitsign" <<'PROGRAM'
#!/bin/sh
here=$(cd -- "$(dirname -- "$0")" && pwd)@tls_gitsign@
@gitsign_trust@
exec gitsign "$@"
PROGRAM
    chmod 755 "$TRUST/gitsign"
    mkdir -p "$TRUST/tuf"
    "$TRUST/gitsign" initialize --mirror @url@/tuf --root "$TRUST/tuf-root.json"@gitsign_initialize@
    git config gpg.format x509
    git config gpg.x509.program "$TRUST/gitsign"
    git config commit.gpgsign true
    git config tag.gpgsign true
    git config gitsign.fulcio @ca_url@
    # The log entry goes into the signature: verification then asks nobody, and works where entries are sealed.
    git config gitsign.rekorMode offline
    git config gitsign.rekor @rekor_url@@gitsign_login@
else
    "$TRUST/gitsign" verify --certificate-identity "${IDENTITY:?IDENTITY says who must have signed}" \
        --certificate-oidc-issuer "$ISSUER" "${COMMIT:-HEAD}"
fi
