# gitsign has two TUF clients, one of which cannot be set up by itself: it is given the files.
export TUF_ROOT="$here/tuf" SIGSTORE_ROOT_FILE="$here/ca-chain.pem"
export SIGSTORE_REKOR_PUBLIC_KEY="$here/rekor.pub" SIGSTORE_CT_LOG_PUBLIC_KEY_FILE="$here/ct.pub"
