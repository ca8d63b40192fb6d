"""Outages of deployed stacks, each of which begins when it is entered and ends when it is left."""

import json
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from sandbox import layout as where
from sandbox import netns, processes
from sandbox.acme import service as acme
from sandbox.edge import service as edge
from tests.engine.databases import first_process
from tests.engine.stack import LAYOUT, awaited, get, kubectl

HOST = "api.gxcoin.money"
EDGE = tuple(node for node in where.NODES if node.public_address)
_MONITOR = "gx-health-monitor /etc/gx-health-monitor/gx-health-monitor.conf || test $? = 1"
# Those that are gone between the list and their turn are gone.
_AT_ONCE = ("--grace-period=0", "--force", "--ignore-not-found")
_HOURS = 8
"""More than a backup may be old: its schedule has one every six."""


@contextmanager
def databases_away(*namespaces: str) -> Iterator[None]:
    """Every instance of Postgres of some stacks is killed, and none is started in its place."""
    replicas = {each: _spec(each, "statefulset/postgres")["replicas"] for each in namespaces}
    try:
        for namespace in namespaces:
            kubectl("scale", "-n", namespace, "statefulset/postgres", "--replicas=0")
            kubectl("delete", "pods", "-n", namespace, "-l", "app=postgres", *_AT_ONCE)
        yield
    finally:
        with ThreadPoolExecutor() as pool:
            list(pool.map(_bring_back, replicas, replicas.values()))


def _bring_back(namespace: str, replicas: int) -> None:
    """The primary first: while standbys alone answer, another alert is right."""
    for count in (1, replicas):
        kubectl("scale", "-n", namespace, "statefulset/postgres", f"--replicas={count}")
        kubectl("rollout", "status", "-n", namespace, "statefulset/postgres", "--timeout=300s")


@contextmanager
def suspended(namespace: str, cron_job: str) -> Iterator[None]:
    """A scheduled job does not run by the clock."""
    patch = ("patch", "cronjob", "-n", namespace, cron_job, "-p")
    kubectl(*patch, '{"spec":{"suspend":true}}')
    try:
        yield
    finally:
        kubectl(*patch, '{"spec":{"suspend":false}}')


@contextmanager
def backups_stopped(namespace: str) -> Iterator[None]:
    """The job of the backups is suspended since hours: its report is as old as it would be then.

    In the end a backup is made.
    """
    claim = json.loads(kubectl("get", "pvc", "-n", namespace, "postgres-backups", "-o", "json"))
    volume = json.loads(kubectl("get", "pv", claim["spec"]["volumeName"], "-o", "json"))
    (term,) = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    node = term["matchExpressions"][0]["values"][0]
    report = shlex.quote(f"{volume['spec']['local']['path']}/reports/backup.prom")
    age = f"/^gx_backup_(newest|last_run)_timestamp_seconds/ {{ $2 -= {_HOURS * 3600} }} {{ print }}"
    script = f"awk {shlex.quote(age)} {report} >{report}.new && cat {report}.new >{report} && rm {report}.new"
    try:
        with suspended(namespace, "postgres-backup"):
            netns.run_in(LAYOUT, node, ["sh", "-euc", script])
            yield
    finally:
        run_jobs(namespace, "postgres-backup")


@contextmanager
def certificate_ends(node: where.NodeSpec) -> Iterator[None]:
    """The certificate of an edge node ends in two weeks, and is a valid one to those who look at it."""
    live, kept = f"/etc/letsencrypt/live/{HOST}", "/root/kept-certificate"
    trusted = acme.bundle_path(LAYOUT)
    before = trusted.read_text()
    on_host(
        node,
        f"cp -a {live} {kept}; rm {live}/*.pem; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1"
        f" -nodes -days 14 -subj /CN={HOST} -addext subjectAltName=DNS:{HOST}"
        f" -keyout {live}/privkey.pem -out {live}/fullchain.pem 2>/dev/null; nginx -s reload",
    )
    try:
        trusted.write_text(before + on_host(node, f"cat {live}/fullchain.pem"))
        look()
        yield
    finally:
        on_host(node, f"rm -r {live}; mv {kept} {live}; nginx -s reload")
        trusted.write_text(before)
        look()


def look() -> None:
    """Have the health monitors look now, in place of within the minute."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda node: on_host(node, _MONITOR), EDGE))


def on_host(node: where.NodeSpec, command: str) -> str:
    """What a shell command on an edge host prints."""
    return processes.run([*edge.enter_argv(LAYOUT, node), "sh", "-euc", command])


def run_jobs(namespace: str, *cron_jobs: str) -> None:
    """Run scheduled jobs now, each to its good end and one after the other, and remove them."""
    for cron_job in cron_jobs:
        job = f"{cron_job}-now"
        kubectl("create", "job", "-n", namespace, job, f"--from=cronjob/{cron_job}")
        kubectl("wait", "-n", namespace, f"job/{job}", "--for=condition=Complete", "--timeout=300s")
        kubectl("delete", "job", "-n", namespace, job)


def kill_container(namespace: str, app: str) -> None:
    """SIGKILL to the first process of one pod of a workload; the kubelet starts it again."""
    pod = get("pods", namespace, "-l", f"app={app}")[0]
    container = pod["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2]
    processes.kill(first_process(container))


def await_whole(namespace: str) -> None:
    """Wait until every Deployment and StatefulSet has all of its pods ready."""

    def whole() -> bool:
        objects = get("deployments,statefulsets", namespace)
        return all(each["status"].get("readyReplicas", 0) == each["spec"]["replicas"] for each in objects)

    awaited(f"all of {namespace} is ready", whole)


def _spec(namespace: str, name: str) -> dict[str, int]:
    spec: dict[str, int] = json.loads(kubectl("get", "-n", namespace, name, "-o", "json"))["spec"]
    return spec
