#!/bin/sh
# Watches the log of @url@ with rekor-monitor: that it only grows, and who signs.
#
#   IDENTITY  regular expression of the identities to report, as certificates say them [default: all]
#   TRUST     folder with the trust files of the instance [default: where they were exported to]
#   STATE     folder for the last checkpoint and what was found [default: .]
#   ONCE      `true` to look once, for a scheduler; otherwise every five minutes, for ever
#
# It reads entries, which hold names, and cannot show a token: deploy/docs/zones.md says how to let it.
set -eu
[ -n "${TRUST:-}" ] || TRUST=@trust@@tls_go@

# A string of YAML in single quotes: only a quote has to be doubled.
identity=$(printf '%s' "${IDENTITY:-.*}" | sed "s/'/''/g")
state=$(printf '%s' "${STATE:=.}" | sed "s/'/''/g")
rekor_monitor --url @rekor_url@ --tuf-repository @url@/tuf --tuf-root-path "$TRUST/tuf-root.json" \
    --once="${ONCE:-false}" --file "$STATE/checkpoint.txt" --config "
monitoredValues:
  certIdentities:
    - certSubject: '$identity'
outputIdentities: '$state/identities.txt'
"
