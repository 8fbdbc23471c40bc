# gitsign has two TUF clients, one of which cosign 2 sets up. Files would not do: they give it one key of a kind, and keys were
# replaced.
export TUF_ROOT="$here/tuf"
