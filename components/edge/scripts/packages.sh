#!/bin/bash
# Installs what is missing of the programs a node needs; what is there is left as it is.
#   packages.sh <directory with settings.env> [check]
set -euo pipefail

# shellcheck disable=SC1091 # written by the program
source "$1/settings.env"
# shellcheck source=components/edge/scripts/lib.sh
source "$1/lib.sh"
: "${PROGRAMS:?}"

read -ra wanted <<<"$PROGRAMS"
# Without systemd its timers are cron's work.
with_systemd || wanted+=(cron=cron)

present() {
    if [[ $1 == /* ]]; then [[ -e $1 ]]; else command -v "$1" >/dev/null; fi
}

if [[ ${2:-} == check ]]; then
    for each in "${wanted[@]}"; do
        present "${each%%=*}" || drift "the package ${each#*=} is missing"
    done
    exit 0
fi

# The firewall and the edge of one node ask at once, and apt-get update does not wait for the lock on its lists.
exec 9>/run/lock/gx-edge-packages.lock
flock -w 600 9 || {
    echo "packages: another provisioning has held /run/lock/gx-edge-packages.lock for 10 minutes. Fix: look for it with ps" >&2
    exit 1
}

missing=()
for each in "${wanted[@]}"; do
    present "${each%%=*}" || missing+=("${each#*=}")
done

if ((${#missing[@]})); then
    if ! command -v apt-get >/dev/null; then
        echo "packages: ${missing[*]} missing, and this is no Debian or Ubuntu. Fix: install them by hand" >&2
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    echo "installing ${missing[*]}"
    # Without the lock's descriptor, which a daemon started by its package would hold for ever.
    apt-get -q -o DPkg::Lock::Timeout=300 update 9>&-
    apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "${missing[@]}" 9>&-
fi
echo "present: ${wanted[*]#*=}"
