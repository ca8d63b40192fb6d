#!/bin/bash
# Gives certbot its token for records of the zone, readable by root alone.
#   dns-token.sh <directory with settings.env and the credentials> [check]
set -euo pipefail

wanted=$(realpath "$1")
# shellcheck disable=SC1091 # written by the program
source "$wanted/settings.env"
# shellcheck source=components/edge/scripts/lib.sh
source "$wanted/lib.sh"
: "${DNS_CREDENTIALS:?}"

if [[ ${2:-} == check ]]; then
    differs "$wanted/credentials.ini" "$DNS_CREDENTIALS" 0600
    exit 0
fi

install -D -m 0600 "$wanted/credentials.ini" "$DNS_CREDENTIALS.new"
mv -T "$DNS_CREDENTIALS.new" "$DNS_CREDENTIALS"
echo "certbot has its token"
