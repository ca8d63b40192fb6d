# shellcheck shell=bash
# What the steps have in common. When they only look, `<script> <directory> check` prints a line per difference between
# the host and what the step would put there, and changes nothing.

# cron looks in /usr/bin and /bin alone, where neither nginx nor sendmail is.
# shellcheck disable=SC2034
cron_path=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

drift() {
    echo "drift: $1"
}

# differs <file of the step> <file of the host> [mode]
differs() {
    if [[ ! -e $2 ]]; then
        drift "$2 is missing"
    elif ! cmp -s "$1" "$2"; then
        drift "$2 differs"
    elif [[ -n ${3:-} && $(stat -c %a "$2") != "${3#0}" ]]; then
        drift "$2 has mode $(stat -c %a "$2") instead of ${3#0}"
    fi
}

with_systemd() {
    [[ -d /run/systemd/system ]]
}

nginx_runs() {
    local pid
    pid=$(cat /run/nginx.pid 2>/dev/null) && [[ -n $pid ]] && kill -0 "$pid" 2>/dev/null
}

# unit_differs <unit that must start at boot and be active>
unit_differs() {
    systemctl --quiet is-enabled "$1" 2>/dev/null || drift "$1 does not start at boot"
    systemctl --quiet is-active "$1" || drift "$1 is not active"
}

cron_differs() {
    pgrep -x cron >/dev/null || drift "cron does not run"
}
