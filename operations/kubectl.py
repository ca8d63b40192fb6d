"""kubectl on the cluster of a stack."""

import json
import subprocess
from typing import Any

from operations.stack import OperationError, last_line
from settings.model import Cluster

SECONDS = 20


class KubectlError(OperationError):
    """The cluster cannot be asked, in one line with the remedy."""


def kubectl_argv(cluster: Cluster, *words: str) -> list[str]:
    """A command line of kubectl, with the context and the kubeconfig of the stack file."""
    kubeconfig = (f"--kubeconfig={cluster.kubeconfig}",) if cluster.kubeconfig else ()
    return ["kubectl", *kubeconfig, f"--context={cluster.context}", *words]


def kubectl_text(cluster: Cluster, *words: str, stdin: str | None = None) -> str:
    """What kubectl prints. Each request ends after ``SECONDS``. Raises ``KubectlError`` when it fails."""
    command = kubectl_argv(cluster, f"--request-timeout={SECONDS}s", *words)
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise KubectlError("kubectl is not on PATH. Fix: install it, or put sandbox/bin on PATH") from None
    if done.returncode:
        asked = " ".join(words).removesuffix(" --output json")
        raise KubectlError(
            f"kubectl {asked}: {last_line(done.stderr)}. Fix: check cluster.context and who you are there"
        )
    return done.stdout


def kubectl_json(cluster: Cluster, *words: str) -> dict[str, Any]:
    """What kubectl shows as JSON. Raises ``KubectlError`` when it fails."""
    answer: dict[str, Any] = json.loads(kubectl_text(cluster, *words, "--output", "json"))
    return answer
