#!/bin/bash
# Installs what the edge needs and is missing; what is there is left as it is.
#   packages.sh <directory with settings.env>
set -euo pipefail

declare -A package=(
    [certbot]=certbot
    [curl]=curl
    [logrotate]=logrotate
    [nginx]=nginx
    [openssl]=openssl
)
# Without systemd its timers are cron's work.
[[ -d /run/systemd/system ]] || package[cron]=cron

missing=()
for program in "${!package[@]}"; do
    command -v "$program" >/dev/null || missing+=("${package[$program]}")
done

if ((${#missing[@]})); then
    if ! command -v apt-get >/dev/null; then
        echo "packages: ${missing[*]} missing, and this is no Debian or Ubuntu. Fix: install them by hand" >&2
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    echo "installing ${missing[*]}"
    apt-get -q -o DPkg::Lock::Timeout=300 update
    apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "${missing[@]}"
fi

nginx -v 2>&1
certbot --version 2>&1
