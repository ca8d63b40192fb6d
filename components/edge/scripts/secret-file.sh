#!/bin/bash
# Puts a file with something secret in its place, readable by root alone.
#   secret-file.sh <directory with settings.env and the content> [check]
set -euo pipefail

wanted=$(realpath "$1")
# shellcheck disable=SC1091 # written by the program
source "$wanted/settings.env"
# shellcheck source=components/edge/scripts/lib.sh
source "$wanted/lib.sh"
: "${SECRET_FILE:?}"

if [[ ${2:-} == check ]]; then
    differs "$wanted/content" "$SECRET_FILE" 0600
    exit 0
fi

install -D -m 0600 "$wanted/content" "$SECRET_FILE.new"
mv -T "$SECRET_FILE.new" "$SECRET_FILE"
echo "$SECRET_FILE is in place"
