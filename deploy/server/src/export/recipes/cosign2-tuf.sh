# Keys were replaced, and cosign 2 takes only one of a kind from a file: all of them come from the instance's TUF repository.
# Addresses come from flags.
export TUF_ROOT="$TRUST/tuf"
cosign initialize --mirror @url@/tuf --root "$TRUST/tuf-root.json"
