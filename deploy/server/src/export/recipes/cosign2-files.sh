# Trust comes from the environment, addresses from flags.
export SIGSTORE_ROOT_FILE="$TRUST/ca-chain.pem"
export SIGSTORE_CT_LOG_PUBLIC_KEY_FILE="$TRUST/ct.pub"
export SIGSTORE_REKOR_PUBLIC_KEY="$TRUST/rekor.pub"
