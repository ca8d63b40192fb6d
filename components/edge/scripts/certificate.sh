#!/bin/bash
# Obtains the certificate of the host name where there is none or it ends soon, and sees that it is renewed.
#   certificate.sh <directory with settings.env and the deploy hook> [check]
set -euo pipefail

wanted=$(realpath "$1")
# shellcheck disable=SC1091 # written by the program
source "$wanted/settings.env"
# shellcheck source=components/edge/scripts/lib.sh
source "$wanted/lib.sh"
: "${STACK:?}" "${HOST_NAME:?}" "${DIRECTORY:?}" "${EMAIL:?}" "${CHALLENGE:?}" "${PROPAGATION_SECONDS:?}"

live=/etc/letsencrypt/live/$HOST_NAME/fullchain.pem
lineage=/etc/letsencrypt/renewal/$HOST_NAME.conf
challenges=/var/www/certbot/.well-known/acme-challenge
renew_days=30

fail() {
    echo "certificate: $1" >&2
    exit 1
}

# What certbot has to be told by its environment, now and in renewals.
environment=()
if [[ -n ${CA_BUNDLE:-} ]]; then
    [[ -r $CA_BUNDLE ]] || fail "$CA_BUNDLE cannot be read. Fix: put the CA bundle there, or remove edge.acme.caBundle"
    environment+=("REQUESTS_CA_BUNDLE=$CA_BUNDLE")
fi
# The names of python-cloudflare 2 and of 4.
[[ -z ${CLOUDFLARE_URL:-} ]] || environment+=("CLOUDFLARE_API_URL=$CLOUDFLARE_URL" "CLOUDFLARE_BASE_URL=$CLOUDFLARE_URL")

if [[ $CHALLENGE == dns-01 ]]; then
    authenticator=dns-cloudflare
    arguments=(--dns-cloudflare --dns-cloudflare-credentials "$DNS_CREDENTIALS")
    arguments+=(--dns-cloudflare-propagation-seconds "$PROPAGATION_SECONDS")
else
    authenticator=webroot
    arguments=(--webroot -w /var/www/certbot)
fi

# Whether certbot renews it where and how it should; a change of either costs one order.
renewed_as_wanted() {
    grep -qxF "server = $DIRECTORY" "$lineage" 2>/dev/null && grep -qxF "authenticator = $authenticator" "$lineage"
}

good() {
    [[ -s $live ]] && renewed_as_wanted && openssl x509 -noout -in "$live" -checkend $((renew_days * 86400)) >/dev/null
}

# A failed order counts against the authority's limits, so the public path to this node's challenges is tried first.
await_public_path() {
    local token deadline=$((SECONDS + 180)) streak=0
    token=gx-$(openssl rand -hex 16)
    mkdir -p "$challenges"
    printf '%s' "$token" >"$challenges/$token"
    while ((streak < 5)); do
        if [[ $(curl -s --max-time 10 "http://$HOST_NAME/.well-known/acme-challenge/$token") == "$token" ]]; then
            streak=$((streak + 1))
            continue
        fi
        streak=0
        if ((SECONDS >= deadline)); then
            rm -f "$challenges/$token"
            fail "http://$HOST_NAME/.well-known/acme-challenge/ does not lead to this node. Fix: the DNS record and port 80"
        fi
        sleep 1
    done
    rm -f "$challenges/$token"
}

# Without the lock's descriptor, which a started cron would hold for ever.
schedule_renewal() {
    # What an authority that was given up was verified with would fail every renewal at the next one.
    ((${#environment[@]})) || rm -f /etc/systemd/system/certbot.service.d/gx.conf /etc/cron.d/gx-certbot
    if with_systemd; then
        if ((${#environment[@]})); then
            mkdir -p /etc/systemd/system/certbot.service.d
            printf '[Service]\n' >/etc/systemd/system/certbot.service.d/gx.conf
            printf 'Environment=%s\n' "${environment[@]}" >>/etc/systemd/system/certbot.service.d/gx.conf
        fi
        systemctl daemon-reload
        systemctl --quiet enable --now certbot.timer
        return
    fi
    # The distribution's own entry renews twice a day, but knows no private authority.
    if ((${#environment[@]})); then
        printf '%s\n' "$cron_path" "${environment[@]}" '17 5,17 * * * root certbot -q renew --no-random-sleep-on-renew' \
            >/etc/cron.d/gx-certbot
    fi
    pgrep -x cron >/dev/null || service cron start
} 8>&-

order() {
    [[ $CHALLENGE == dns-01 ]] || await_public_path
    env "${environment[@]}" certbot certonly --quiet --non-interactive --agree-tos --email "$EMAIL" \
        --server "$DIRECTORY" "${arguments[@]}" -d "$HOST_NAME" --cert-name "$HOST_NAME" "$how"
}

served() {
    timeout 10 openssl s_client -connect 127.0.0.1:443 -servername "$HOST_NAME" </dev/null 2>/dev/null |
        openssl x509 -noout -fingerprint -sha256 2>/dev/null
}

serves_it() {
    [[ $(served) == $(openssl x509 -noout -fingerprint -sha256 -in "$live") ]]
}

check() {
    differs "$wanted/deploy-hook.sh" "$hook" 0755
    if [[ ! -s $live ]]; then
        drift "there is no certificate of $HOST_NAME"
        return
    fi
    renewed_as_wanted || drift "the certificate of $HOST_NAME is not renewed at $DIRECTORY by $CHALLENGE"
    openssl x509 -noout -in "$live" -checkend $((renew_days * 86400)) >/dev/null ||
        drift "the certificate of $HOST_NAME ends in less than $renew_days days: it is not renewed"
    [[ $(openssl x509 -noout -pubkey -in "$live") == $(openssl pkey -pubout -in "${live%/*}/privkey.pem" 2>/dev/null) ]] ||
        drift "the key in ${live%/*} does not belong to the certificate"
    serves_it || drift "Nginx does not serve the certificate in ${live%/*}"
    if with_systemd; then unit_differs certbot.timer; else cron_differs; fi
}

hook=/etc/letsencrypt/renewal-hooks/deploy/gx-nginx
if [[ ${2:-} == check ]]; then
    check
    exit 0
fi

exec 8>/run/lock/gx-edge-certificate.lock
flock -w 600 8 || fail "another provisioning has held /run/lock/gx-edge-certificate.lock for 10 minutes"

mkdir -p "$(dirname "$hook")"
install -m 0755 "$wanted/deploy-hook.sh" "$hook"

if good; then
    echo "certificate of $HOST_NAME is valid beyond $renew_days days; nothing ordered"
else
    how=--keep-until-expiring
    if [[ -s $lineage ]] && ! renewed_as_wanted; then
        how=--force-renewal
    fi
    # A node that passes the challenge on may be about to reload its Nginx. Let's Encrypt takes five failures an hour:
    # https://letsencrypt.org/docs/rate-limits/#authorization-failures-per-hostname-per-account
    order || order ||
        fail "certbot could not obtain a certificate for $HOST_NAME. Look at /var/log/letsencrypt/letsencrypt.log"
fi
schedule_renewal
bash "/var/lib/gx-edge/$STACK.nginx/nginx.sh" "/var/lib/gx-edge/$STACK.nginx"
# The configuration is the same when a certificate takes another's place, and certbot runs the hook in renewals alone.
if ! serves_it; then
    sh "$hook"
    deadline=$((SECONDS + 10))
    until serves_it; do
        ((SECONDS < deadline)) || fail "Nginx does not serve the certificate in ${live%/*}. Look at /var/log/nginx/error.log"
        sleep 0.2
    done
fi
openssl x509 -noout -enddate -in "$live"
