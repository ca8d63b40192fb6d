"""The step that installs what a node misses."""

from collections.abc import Mapping

from components.edge.steps import SETTINGS_FILE, Step, settings_file

EDGE_PROGRAMS = {name: name for name in ("certbot", "curl", "logrotate", "nginx", "openssl")}
DNS_CHALLENGE_PROGRAMS = {
    "/usr/lib/python3/dist-packages/certbot_dns_cloudflare/__init__.py": "python3-certbot-dns-cloudflare"
}
FIREWALL_PROGRAMS = {"nft": "nftables"}


def packages_step(title: str, programs: Mapping[str, str]) -> Step:
    """Debian packages by the program, or the file, that each brings. What is there already is left as it is."""
    wanted = " ".join(f"{program}={package}" for program, package in programs.items())
    return Step(title=title, script="packages.sh", files={SETTINGS_FILE: settings_file({"PROGRAMS": wanted})})
