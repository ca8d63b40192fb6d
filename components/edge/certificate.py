"""The steps that obtain a node's certificate and see to its renewal."""

from components.edge.steps import SETTINGS_FILE, Step, script, secret_file_step, settings_file
from settings.model import Dns, Edge

DNS_CREDENTIALS = "/etc/letsencrypt/gx-dns-cloudflare.ini"
PROPAGATION_SECONDS = 30
"""How long certbot waits for Cloudflare's name servers to know a new record."""


def certificate_step(edge: Edge, dns: Dns | None, stack: str, propagation_seconds: int = PROPAGATION_SECONDS) -> Step:
    """The step that obtains the certificate by the stack's challenge, and sees to its renewal."""
    return Step(
        title=f"Certificate of {edge.hostname}",
        script="certificate.sh",
        files={
            SETTINGS_FILE: settings_file(
                {
                    "STACK": stack,
                    "HOST_NAME": edge.hostname,
                    "DIRECTORY": edge.acme.directory,
                    "EMAIL": edge.acme.email,
                    "CA_BUNDLE": edge.acme.ca_bundle or "",
                    "CHALLENGE": edge.acme.challenge,
                    "DNS_CREDENTIALS": DNS_CREDENTIALS,
                    "PROPAGATION_SECONDS": str(propagation_seconds),
                    "CLOUDFLARE_URL": (dns.base_url if dns else None) or "",
                }
            ),
            "deploy-hook.sh": script("deploy-hook.sh"),
        },
    )


def dns_token_step(token: str) -> Step:
    """The step that gives certbot its token; secret as a whole. Raises ``ValueError`` for a token of several lines."""
    if len(token.splitlines()) != 1:
        raise ValueError("secrets.acmeDnsToken: not one line. Fix: store the token alone")
    return secret_file_step("Token of certbot", DNS_CREDENTIALS, f"dns_cloudflare_api_token = {token}\n")
