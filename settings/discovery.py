"""Finds out what a stack file misses: from the cluster, from the nodes, from Cloudflare, from the image registry.

Each function returns None when its source is not to be had; the operator is asked then.
"""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request

CLOUDFLARE_API = "https://api.cloudflare.com/client/v4"
SECONDS = 10


def cluster_nodes(context: str, kubeconfig: str | None) -> dict[str, dict[str, str]] | None:
    """InternalIP and pod network of each node of the cluster, by node name."""
    argv = ["kubectl", "--context", context, f"--request-timeout={SECONDS}s"]
    argv += ["--kubeconfig", kubeconfig] if kubeconfig else []
    printed = _output([*argv, "get", "nodes", "-o", "json"])
    if printed is None:
        return None
    found: dict[str, dict[str, str]] = {}
    for item in json.loads(printed)["items"]:
        addresses = {address["type"]: address["address"] for address in item["status"].get("addresses", ())}
        values = {"internalIp": addresses.get("InternalIP"), "podCidr": item["spec"].get("podCIDR")}
        found[item["metadata"]["name"]] = {key: value for key, value in values.items() if value}
    return found


def host_key(address: str, port: int) -> str | None:
    """A host's Ed25519 key as it shows itself now. Only its fingerprint, compared on another way, makes it trusted."""
    printed = _output(["ssh-keyscan", "-T", str(SECONDS), "-t", "ed25519", "-p", str(port), address])
    lines = [line.split() for line in (printed or "").splitlines() if not line.startswith("#")]
    return next((" ".join(words[1:3]) for words in lines if len(words) >= 3), None)


def fingerprint(key: str) -> str:
    """Fingerprint of a host key as ``ssh-keygen -l`` shows it."""
    digest = hashlib.sha256(base64.b64decode(key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def zone_id(zone: str, token: str) -> str | None:
    """Identifier of a Cloudflare zone that the token can see."""
    base = os.environ.get("CLOUDFLARE_BASE_URL", CLOUDFLARE_API)
    request = urllib.request.Request(  # noqa: S310 - an HTTP endpoint, from the operator's own environment
        f"{base}/zones?{urllib.parse.urlencode({'name': zone})}", headers={"Authorization": f"Bearer {token}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310 - as above
            zones = json.load(answer)["result"]
    except (urllib.error.URLError, TimeoutError, json.JSONDecodeError):
        return None
    return str(zones[0]["id"]) if zones else None


def pinned(image: str) -> str | None:
    """An image reference with the digest its registry gives now; needs crane or skopeo."""
    if shutil.which("crane"):
        digest = _output(["crane", "digest", image])
    else:
        digest = _output(["skopeo", "inspect", "--format", "{{.Digest}}", f"docker://{image}"])
    return f"{image}@{digest.strip()}" if digest else None


def _output(argv: list[str]) -> str | None:
    """What a command prints; None when there is no such command or it fails."""
    if shutil.which(argv[0]) is None:
        return None
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=3 * SECONDS)
    except subprocess.TimeoutExpired:
        return None
    return done.stdout if done.returncode == 0 else None
