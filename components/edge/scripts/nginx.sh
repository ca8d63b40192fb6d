#!/bin/bash
# Puts a stack's Nginx configuration in force, or changes nothing.
#   nginx.sh <directory with settings.env, host/ and site/> [check]
#
# All managed files of all stacks are one release, /etc/nginx/gx -> /var/lib/gx-edge/releases/<digest>, switched by one
# rename. The new tree is tested in a mount namespace of its own before the host sees it; after the reload the host must
# say that it serves the new release, or everything goes back.
set -euo pipefail

wanted=$(realpath "$1")
# shellcheck disable=SC1091 # written by the program
source "$wanted/settings.env"
# shellcheck source=components/edge/scripts/lib.sh
source "$wanted/lib.sh"
: "${STACK:?}" "${SITE:?}" "${HOST_NAME:?}" "${OWNS_HOST:?}" "${STATUS_PORT:?}"

state=/var/lib/gx-edge
releases=$state/releases
oldest_nginx=1.19.4 # ssl_reject_handshake
loaders=(nginx.conf conf.d/00-gx-host.conf "conf.d/$SITE.conf")
certificate=/etc/letsencrypt/live/$HOST_NAME/fullchain.pem

fail() {
    echo "nginx: $1" >&2
    exit 1
}

# Says who takes the web ports from Nginx: K3s leads them to Traefik's pod unless told otherwise, and a packet that is
# led away never comes to whoever listens (X-32).
taken_by() {
    local rules holder
    # Host ports of pods, as the CNI's portmap writes them. K3s has an iptables of its own, the host may have none.
    rules=$(iptables-save -t nat 2>/dev/null |
        grep -E '^-A CNI-(HOSTPORT|DN)[^ ]* .*dports? ([0-9]+,)*(80|443)(,[0-9]+)* ') ||
        rules=$(nft list ruleset 2>/dev/null | awk '/chain CNI-(HOSTPORT|DN)/ { inside = 1 } /^[ \t]*}/ { inside = 0 }
            inside && /dport (80|443) /') || true # a host without either program has no such rule
    rules=${rules%%$'\n'*}
    if [[ -n $rules ]]; then
        echo "K3s leads ports 80 and 443 of this node to a pod (Traefik by ServiceLB): $rules." \
            "Fix: on every server \"disable: [traefik, servicelb]\" in /etc/rancher/k3s/config.yaml, restart k3s"
        return
    fi
    holder=$(ss -Hltnp '( sport = :80 or sport = :443 )' 2>/dev/null | grep -v '"nginx"' | head -n 1)
    [[ -z $holder ]] || echo "port 80 or 443 is another's: $holder. Fix: stop it"
}

at_least() {
    [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]
}

# Where a managed path of /etc/nginx leads.
target_of() {
    case $1 in
    nginx.conf) echo gx/host/nginx.conf ;;
    conf.d/00-gx-host.conf) echo ../gx/host/http.conf ;;
    *) echo "../gx/$STACK/site.conf" ;;
    esac
}

# One rename, so that no reader ever finds the path missing.
link() {
    ln -s "$1" "$2.gx-new"
    mv -T "$2.gx-new" "$2"
}

# Makes a copy of /etc/nginx, or /etc/nginx itself, lead to a release.
point_at() {
    local root=$1 release=$2 loader
    mkdir -p "$root/conf.d" "$root/sites-enabled"
    link "$release" "$root/gx"
    for loader in "${loaders[@]}"; do
        link "$(target_of "$loader")" "$root/$loader"
    done
    # Debian's example page is the default server of port 80.
    if [[ $(readlink "$root/sites-enabled/default") == */sites-available/default ]]; then
        rm "$root/sites-enabled/default"
    fi
}

# Without the lock's descriptor, which a started Nginx would hold for ever.
reload() {
    if with_systemd; then
        systemctl --quiet enable nginx && systemctl reload-or-restart nginx
    elif nginx_runs; then
        nginx -s reload
    else
        nginx
    fi
} 9>&-

answers() {
    local status
    [[ $(curl -s --max-time 2 "http://127.0.0.1:$STATUS_PORT/release") == "$1" ]] || return 1
    status=$(curl -s -o /dev/null -w '%{http_code}' --max-time 5 -H "Host: $HOST_NAME" http://127.0.0.1/) || return 1
    [[ $status == 301 ]] || return 1
    if [[ -s $certificate ]]; then
        # Whether the name is served; any answer of HTTP will do, since the services may not run yet.
        curl -sk -o /dev/null --max-time 10 --resolve "$HOST_NAME:443:127.0.0.1" "https://$HOST_NAME/"
    fi
}

await() {
    local deadline=$((SECONDS + 10))
    until answers "$1"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.2
    done
}

assemble() {
    local next=$1 style
    mkdir -p "$next"
    [[ ! -d /etc/nginx/gx/ ]] || cp -a /etc/nginx/gx/. "$next/"
    rm -rf "${next:?}/$STACK"
    cp -r "$wanted/site" "$next/$STACK"
    # One stack owns what all share; another brings it only where there is none yet (X-78).
    if [[ $OWNS_HOST == yes || ! -d $next/host ]]; then
        rm -rf "$next/host"
        cp -r "$wanted/host" "$next/host"
    fi
    if at_least "$version" 1.25.1; then style=from; else style=before; fi
    mv "$next/$STACK/listen-$style-1.25.1.conf" "$next/$STACK/listen.conf"
    rm "$next/$STACK"/listen-*-1.25.1.conf
    [[ -s $certificate ]] || echo '# Waiting for the certificate.' >"$next/$STACK/https.conf"
    rm -f "$next/host/release.conf"
    digest=$(cd "$next" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c1-16)
    printf 'return 200 %s;\n' "$digest" >"$next/host/release.conf"
}

check() {
    local path loader parts=("$STACK")
    if ! command -v nginx >/dev/null; then
        drift "Nginx is not installed"
        return
    fi
    [[ $OWNS_HOST == no ]] || parts+=(host)
    while read -r path; do
        differs "$work/release/$path" "/etc/nginx/gx/$path"
    done < <(cd "$work/release" && find "${parts[@]}" -type f ! -name release.conf | LC_ALL=C sort)
    for loader in "${loaders[@]}"; do
        [[ $(readlink "/etc/nginx/$loader") == $(target_of "$loader") ]] ||
            drift "/etc/nginx/$loader does not lead to the program's file"
    done
    if ! nginx_runs; then
        drift "Nginx does not run"
    elif ! answers "$(basename "$(readlink /etc/nginx/gx)")"; then
        drift "Nginx does not serve what is in its files: it was not reloaded, or ports 80 and 443 are another's"
    fi
    ! with_systemd || unit_differs nginx
    [[ -z $(taken_by) ]] || drift "$(taken_by)"
}

# A release that somebody edited, since an editor follows the links, is put back to what its name says.
keep_release() {
    if [[ ! -d $releases/$digest ]]; then
        mv -T "$work/release" "$releases/$digest"
    elif ! diff -r "$work/release" "$releases/$digest" >/dev/null; then
        mkdir -p "$backup"
        echo "backed up release $digest, which was edited on the host, to $backup"
        mv -T "$releases/$digest" "$backup/release-$digest"
        mv -T "$work/release" "$releases/$digest"
        edited=yes
    fi
}

back_up_foreign() {
    local root=$backup path
    for path in "${loaders[@]}" sites-enabled/default; do
        [[ -e /etc/nginx/$path && $(readlink "/etc/nginx/$path") != *gx/* ]] || continue
        mkdir -p "$root/$(dirname "/etc/nginx/$path")"
        cp -a "/etc/nginx/$path" "$root/etc/nginx/$path"
        echo "backed up /etc/nginx/$path to $root"
    done
}

roll_back() {
    local path
    for path in gx "${loaders[@]}" sites-enabled/default; do
        if [[ -e $work/before/$path || -L $work/before/$path ]]; then
            cp -a "$work/before/$path" "/etc/nginx/$path.gx-new"
            mv -T "/etc/nginx/$path.gx-new" "/etc/nginx/$path"
        else
            rm -f "/etc/nginx/$path"
        fi
    done
    if nginx -t -q; then
        # What led here is reported by the caller; a reload that fails as well must not take its place.
        reload || true
    fi
}

backup=/var/backups/gx-edge/$(date -u +%Y%m%dT%H%M%SZ)
version=$(nginx -v 2>&1 | grep -oE '[0-9]+(\.[0-9]+){2}' | head -n 1) || version=0
digest='' edited=no
if [[ ${2:-} == check ]]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    assemble "$work/release"
    check
    exit 0
fi

mkdir -p "$releases" /var/www/certbot
exec 9>/run/lock/gx-edge.lock
flock -w 300 9 || fail "another provisioning has held /run/lock/gx-edge.lock for 5 minutes. Fix: look for it with ps"

at_least "$version" "$oldest_nginx" || fail "version $version is too old. Fix: install $oldest_nginx or later"

# Those of runs that were cut off.
rm -rf "$state"/work.*
[[ -z $(taken_by) ]] || fail "nothing was changed: $(taken_by)"

work=$(mktemp -d "$state/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
assemble "$work/release"
keep_release

cp -a /etc/nginx "$work/before"
cp -a /etc/nginx "$work/nginx"
point_at "$work/nginx" "$releases/$digest"

keep_wanted() {
    rm -rf "$state/$STACK.nginx.new"
    cp -r "$wanted" "$state/$STACK.nginx.new"
    rm -rf "$state/$STACK.nginx"
    mv "$state/$STACK.nginx.new" "$state/$STACK.nginx"
}

if [[ $edited == no ]] && diff -r --no-dereference /etc/nginx "$work/nginx" >/dev/null && nginx_runs && answers "$digest"; then
    [[ $wanted == "$state/$STACK.nginx" ]] || keep_wanted
    echo "release $digest is in force already; nothing done"
    exit 0
fi

# shellcheck disable=SC2016 # for the inner shell
if ! problems=$(unshare --mount --propagation private \
    sh -c 'mount --bind "$1" /etc/nginx && exec nginx -t -q' sh "$work/nginx" 2>&1); then
    [[ $(readlink /etc/nginx/gx) == "$releases/$digest" ]] || rm -rf "${releases:?}/$digest"
    fail "refused by nginx -t, nothing was changed: $problems"
fi

back_up_foreign
point_at /etc/nginx "$releases/$digest"
if ! reload || ! await "$digest"; then
    roll_back
    fail "release $digest does not serve $HOST_NAME; the previous state is back. Look at /var/log/nginx/error.log"
fi

[[ $wanted == "$state/$STACK.nginx" ]] || keep_wanted
touch "$releases/$digest"
# The one in force and four to look back at.
find "$releases" -mindepth 1 -maxdepth 1 -printf '%T@ %p\n' | sort -rn | tail -n +6 | cut -d' ' -f2- | xargs -r rm -rf
echo "release $digest is in force on nginx $version"
