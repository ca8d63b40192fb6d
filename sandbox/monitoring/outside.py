"""`python -m sandbox.monitoring.outside <file>`: who is told of alerts, and a discovery of pods.

Runs on the internet machine. Whatever is posted is taken and kept, a line of JSON each: when, the path, the body.
`/pods/<namespace>` answers what `kubernetes_sd_configs` of role `pod` finds, which Debian's Prometheus lacks, as
HTTP discovery:
https://prometheus.io/docs/prometheus/latest/http_sd/
"""

import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from sandbox import layout as where
from sandbox.processes import SandboxError, run
from sandbox.toolchain import tool

PORT = 9009
URL = f"http://{where.INTERNET_ADDRESS}:{PORT}"
PODS = "/pods/"


def targets(pods: list[Mapping[str, Any]]) -> Iterator[dict[str, object]]:
    """One target for each port of a container of pods that have an address.

    Labels are those of https://prometheus.io/docs/prometheus/latest/configuration/configuration/#pod, but for
    annotations and owners.
    """
    for pod in pods:
        metadata, spec, status = pod["metadata"], pod["spec"], pod.get("status", {})
        if "podIP" not in status:
            continue
        of_pod = {
            "namespace": metadata["namespace"],
            "pod_name": metadata["name"],
            "pod_ip": status["podIP"],
            "pod_node_name": spec.get("nodeName", ""),
            "pod_phase": status.get("phase", ""),
            **{f"pod_label_{_name(key)}": value for key, value in metadata.get("labels", {}).items()},
        }
        for container in spec["containers"]:
            for port in container.get("ports", []):
                of_port = {
                    "pod_container_name": container["name"],
                    "pod_container_port_name": port.get("name", ""),
                    "pod_container_port_number": str(port["containerPort"]),
                }
                labels = {f"__meta_kubernetes_{name}": value for name, value in (of_pod | of_port).items()}
                yield {"targets": [f"{status['podIP']}:{port['containerPort']}"], "labels": labels}


def _name(label: str) -> str:
    return "".join(char if char.isalnum() else "_" for char in label)


def _handler(file: Path) -> type[BaseHTTPRequestHandler]:
    alone = threading.Lock()

    class Outside(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with alone, file.open("a", encoding="utf-8") as kept:
                kept.write(json.dumps([time.time(), self.path, json.loads(body)]) + "\n")
            # PagerDuty's answer; the others take any that is a success.
            self._answer(202, {})

        def do_GET(self) -> None:
            if not self.path.startswith(PODS):
                self._answer(404, {})
                return
            argv = [str(tool("kubectl")), f"--kubeconfig={where.current().kubeconfig}", "get", "pods", "-o", "json"]
            try:
                found = json.loads(run([*argv, "-n", self.path.removeprefix(PODS)]))["items"]
            except SandboxError as error:
                # Prometheus keeps what it knows.
                self._answer(503, {"error": str(error)})
                return
            self._answer(200, list(targets(found)))

        def _answer(self, status: int, body: object) -> None:
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Outside


if __name__ == "__main__":
    ThreadingHTTPServer((where.INTERNET_ADDRESS, PORT), _handler(Path(sys.argv[1]))).serve_forever()
