"""Jobs that a command of the operator creates in the cluster, follows, and ends with.

The work is done beside the volumes: it does not run through an operator's machine, and goes on without it.
"""

import json
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from operations.kubectl import KubectlError, kubectl_argv, kubectl_text
from operations.manifest import in_camel_case
from operations.stack import OperationError
from settings.model import Cluster

DEADLINE_SECONDS = 6 * 3600
# A pod waits for its image and its volume; then something is wrong that only the cluster's events tell.
START_SECONDS = 300
SILENCE_SECONDS = 300
"""How long an API server may be away while a Job is at work."""


class JobError(OperationError):
    """Why the command cannot go on, in one line with the remedy."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """The cluster and namespace of a stack, through kubectl."""

    cluster: Cluster
    namespace: str

    def kubectl(self, *argv: str, stdin: str | None = None) -> str:
        """Output of a command. Raises ``KubectlError`` when it fails."""
        return kubectl_text(self.cluster, *argv, f"--namespace={self.namespace}", stdin=stdin)

    def follow(self, job: str, *options: str) -> None:
        """Show the log of a Job until it ends, or the connection to the API server does."""
        argv = kubectl_argv(self.cluster, f"--namespace={self.namespace}", "logs", "--follow", *options, f"job/{job}")
        subprocess.run(argv, check=False)


def job(name: str, worn: Mapping[str, str], pod: Mapping[str, Any]) -> dict[str, Any]:
    """The Job as kubectl takes it, of a pod as the components write it; ``worn`` are the pod's labels."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}", "labels": {"app": name}},
        "spec": {
            # What failed is looked at, not tried again.
            "backoffLimit": 0,
            "activeDeadlineSeconds": DEADLINE_SECONDS,
            "ttlSecondsAfterFinished": 7 * 24 * 3600,
            "template": {"metadata": {"labels": dict(worn)}, "spec": in_camel_case(pod)},
        },
    }


def run_job(target: Target, job: Mapping[str, Any]) -> int:
    """Create a Job, show its log, and return 0 if it has succeeded.

    Once its pod has started it goes on without this command; before that it ends with it. Raises ``JobError`` when the
    pod does not start, and when the API server stays away.
    """
    name = str(job["metadata"]["name"])
    target.kubectl("create", "-f", "-", stdin=json.dumps(job))
    print(f"job {name}: created in {target.namespace}; `kubectl logs job/{name}` shows the same as this", flush=True)
    _await_start(target, name)
    since: list[str] = []
    while True:
        target.follow(name, *since)
        since = ["--since=5s"]
        conditions = _asked(target, name, "job", name)["status"].get("conditions", [])
        ended = {each["type"] for each in conditions if each["status"] == "True"} & {"Complete", "Failed"}
        if ended:
            return 0 if ended == {"Complete"} else 1
        time.sleep(1)


def _await_start(target: Target, name: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    try:
        while time.monotonic() < deadline:
            pods = _asked(target, name, "pods", f"--selector=job-name={name}")["items"]
            if any(pod["status"].get("phase") not in {"Pending", None} for pod in pods):
                return
            time.sleep(1)
    except KeyboardInterrupt:
        _delete(target, name)
        raise
    _delete(target, name)
    raise JobError(
        f"the pod of job {name} does not start; the job is deleted."
        f" Fix: kubectl -n {target.namespace} get events | grep {name}, then again"
    )


def _delete(target: Target, name: str) -> None:
    """End a Job that has not begun: it would when its node is back or the quota has room, over what is newer."""
    try:
        target.kubectl("delete", "job", name, "--wait=false")
    except KubectlError:
        fix = f"kubectl -n {target.namespace} delete job {name}"
        raise JobError(f"the pod of job {name} has not started, and may do so at any time. Fix: {fix}") from None


def _asked(target: Target, job: str, *what: str) -> dict[str, Any]:
    """An object, or a list of them, as soon as the API server answers: the Job goes on without it."""
    deadline = time.monotonic() + SILENCE_SECONDS
    while True:
        try:
            answer: dict[str, Any] = json.loads(target.kubectl("get", *what, "-o", "json"))
        except KubectlError as error:
            if "NotFound" in str(error):
                raise JobError(f"job {job} was deleted before its end. Fix: run the command again") from None
            if time.monotonic() >= deadline:
                said = str(error).partition(". Fix: ")[0]
                fix = f"kubectl -n {target.namespace} logs --follow job/{job}, before another one is begun"
                raise JobError(f"{said}; job {job} may still be at work. Fix: {fix}") from None
            time.sleep(1)
        else:
            return answer
