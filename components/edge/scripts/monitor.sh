#!/bin/bash
# Installs the health monitor and runs it on its schedule.
#   monitor.sh <directory with settings.env and the monitor's files> [check]
set -euo pipefail

wanted=$(realpath "$1")
# shellcheck disable=SC1091 # written by the program
source "$wanted/settings.env"
# shellcheck source=components/edge/scripts/lib.sh
source "$wanted/lib.sh"
: "${NAME:?}" "${INTERVAL_SECONDS:?}"

program=/usr/local/bin/gx-health-monitor
settings=/etc/gx-health-monitor/$NAME.conf

minutes=$(((INTERVAL_SECONDS + 59) / 60))
printf '%s\n*/%s * * * * root %s %s\n' "$cron_path" "$minutes" "$program" "$settings" >"$wanted/cron"

# Mode, file of the step, path on the host.
installed() {
    echo "0755 gx-health-monitor.sh $program"
    echo "0644 monitor.conf $settings"
    echo "0644 logrotate.conf /etc/logrotate.d/$NAME"
    if with_systemd; then
        echo "0644 monitor.service /etc/systemd/system/$NAME.service"
        echo "0644 monitor.timer /etc/systemd/system/$NAME.timer"
    else
        echo "0644 cron /etc/cron.d/$NAME"
    fi
}

if [[ ${2:-} == check ]]; then
    while read -r mode file path; do
        differs "$wanted/$file" "$path" "$mode"
    done < <(installed)
    if with_systemd; then unit_differs "$NAME.timer"; else cron_differs; fi
    exit 0
fi

while read -r mode file path; do
    install -D -m "$mode" "$wanted/$file" "$path"
done < <(installed)

if with_systemd; then
    systemctl daemon-reload
    systemctl --quiet enable "$NAME.timer"
    systemctl restart "$NAME.timer"
    echo "$NAME runs every $INTERVAL_SECONDS s by systemd"
else
    pgrep -x cron >/dev/null || service cron start
    echo "$NAME runs every $minutes min by cron: there is no systemd"
fi
