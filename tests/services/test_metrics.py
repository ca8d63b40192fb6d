"""Real exporters of real servers, read by a real Prometheus with the rendered configuration and rules."""

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from components.backups import config as backups
from components.observability import exporters, metrics, rules, scrape
from components.observability.exporters import Exporter
from components.tls import CLIENT_DIRECTORY
from sandbox import toolchain
from settings.loader import load
from settings.model import Settings
from settings.stackfile import merge
from tests import panels, stacks
from tests.services import test_postgres_scripts as postgres
from tests.services import test_redis_scripts as redis
from tests.services.pods import NAMESPACE, Lab, Pod, PodSpec, volume, write_files

EXPORTER, PROMETHEUS = 40, 41
NOBODY = 65534


def settings() -> Settings:
    """Mainnet, in the namespace and of the size of the tests' pods."""
    patch = merge({"environment": {"namespace": NAMESPACE}, "postgres": {"storage": "1Gi"}}, stacks.tls(NAMESPACE))
    return load(merge(stacks.complete("mainnet"), patch), stack="mainnet")


def start_exporter(lab: Lab, exporter: Exporter, program: str, files: Mapping[str, Path], **env: str) -> Pod:
    """An exporter with the arguments and the user it has in production."""
    pod = lab.pod(
        PodSpec(
            name=exporter.app,
            number=EXPORTER,
            uid=exporter.uid,
            gid=exporter.gid,
            mounts={"/exporter": toolchain.tool(program).parent, **files},
            env=env,
        )
    )
    pod.start("exporter", f"/exporter/{program}", *exporter.arguments)
    lab.wait(
        f"{program} answers",
        lambda: pod.run("curl", "-sf", f"localhost:{exporter.port}{exporter.path}").returncode == 0,
    )
    return pod


def exported(pod: Pod, url: str) -> dict[str, float]:
    """The series of one scrape."""
    done = pod.run("curl", "-sf", "--max-time", "20", url)
    assert done.returncode == 0, f"{url}: {done.stderr}\n{pod.read('exporter')}"
    lines = [line for line in done.stdout.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def names(series: Mapping[str, float]) -> set[str]:
    return {name.partition("{")[0] for name in series}


def asked(pod: Pod, job: str) -> dict[str, dict[str, float]]:
    """What the exporter says of each server of a job, when it is asked as Prometheus asks it."""
    (source,) = [each for each in scrape.sources(settings()) if each.job == job]
    parameters = "".join(f"&{name}={value}" for name, value in source.parameters)
    return {
        target.instance: exported(
            pod, f"localhost:{source.port}{source.path}?target={quote(target.parameter, safe='')}{parameters}"
        )
        for target in source.targets
    }


class Prometheus:
    """A Prometheus with the rendered configuration of some jobs, in a hurry: seconds in place of minutes."""

    def __init__(self, lab: Lab, *jobs: str, area: str) -> None:
        stack = settings()
        assert stack.observability is not None
        wanted = {f"{NAMESPACE}-{job}" for job in jobs}
        configs = [each for each in scrape.scrape_configs(stack) if each["job_name"] in wanted]
        assert len(configs) == len(jobs)
        for each in configs:
            each |= {"scrape_interval": "4s", "scrape_timeout": "4s"}
        groups = rules.groups(stack, stack.observability, area)
        for rule in groups[0]["rules"]:
            if "alert" in rule:
                rule |= {key: "4s" for key in ("for", "keep_firing_for") if key in rule}
        whole = {
            "global": {"evaluation_interval": "1s"},
            "rule_files": ["/etc/prometheus/rules.yaml"],
            "scrape_configs": configs,
        }
        files = {"prometheus.yml": yaml.safe_dump(whole), "rules.yaml": yaml.safe_dump({"groups": groups})}
        self.lab = lab
        self.pod = lab.pod(
            PodSpec(
                name="prometheus",
                number=PROMETHEUS,
                uid=NOBODY,
                gid=NOBODY,
                mounts={
                    "/etc/prometheus": write_files(lab.scratch / "prometheus", files),
                    "/prometheus": volume(lab.scratch / "prometheus-data", NOBODY, NOBODY),
                },
            )
        )
        self.pod.start(
            "prometheus",
            "prometheus",
            "--config.file=/etc/prometheus/prometheus.yml",
            "--storage.tsdb.path=/prometheus",
            "--query.lookback-delta=20s",
        )
        lab.wait("Prometheus answers", lambda: bool(self.query("vector(1)")))

    def query(self, expression: str) -> list[dict[str, Any]]:
        found = self._get(f"query?query={quote(expression, safe='')}")
        return found["data"]["result"] if found else []

    def silent(self, exported: frozenset[str]) -> list[str]:
        """Panels of the dashboards that show nothing, of those that need nothing but these metrics."""
        asked = panels.of(settings(), exported)
        assert asked
        return [title for expression, title in asked.items() if not self.query(expression)]

    def firing(self) -> dict[str, dict[str, Any]]:
        found = self._get("alerts")
        every = found["data"]["alerts"] if found else []
        return {each["labels"]["alertname"]: each for each in every if each["state"] == "firing"}

    def await_firing(self, *alerts: str) -> dict[str, dict[str, Any]]:
        self.lab.wait(f"{alerts} fire", lambda: set(alerts) <= self.firing().keys(), timeout=120)
        return self.firing()

    def _get(self, path: str) -> dict[str, Any] | None:
        done = self.pod.run("curl", "-sf", f"localhost:9090/api/v1/{path}")
        return json.loads(done.stdout) if done.returncode == 0 and done.stdout else None


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    services = {"postgres-exporter": EXPORTER, "redis-exporter": EXPORTER, "prometheus": PROMETHEUS}
    with Lab(tmp_path, postgres.ADDRESSES | redis.ADDRESSES | services) as running:
        yield running


def test_postgres_exports_what_rules_and_dashboards_use_and_its_end_is_told(lab: Lab) -> None:
    cluster = postgres.Cluster(lab)
    # Every character that settings/rules_secrets.py lets into a password: the exporter fails on quotes, and logs them.
    password = "canary-Exporter.0~_-"  # noqa: S105
    cluster.set_passwords(postgres.PASSWORDS | {"exporter": password})
    for ordinal in cluster.members:
        cluster.start(ordinal)
    # A clone in the making streams too.
    followers = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'quorum'"
    lab.wait("two standbys follow", lambda: cluster.admin(0, followers) == "2", timeout=120)
    exporter = exporters.postgres("image", settings().placement.workloads)
    login = write_files(lab.scratch / "login", exporters.login(password), mode=0o440, gid=NOBODY)
    authority = write_files(lab.scratch / "authority", {"ca.crt": stacks.authority().certificate})
    pod = start_exporter(
        lab, exporter, "postgres_exporter", {"/etc/postgres-exporter": login, CLIENT_DIRECTORY: authority}
    )

    # A standby streams before it answers.
    lab.wait("every instance answers", lambda: all(each["pg_up"] for each in asked(pod, "postgres").values()))
    found = asked(pod, "postgres")
    assert metrics.POSTGRES - (names(found["postgres-0"]) | names(found["postgres-1"])) == set()
    replica = {instance: series["pg_replication_is_replica"] for instance, series in found.items()}
    assert replica == {"postgres-0": 0, "postgres-1": 1, "postgres-2": 1}
    assert "canary" not in pod.read("exporter")

    prometheus = Prometheus(lab, "postgres", area="postgres")
    lab.wait("every instance is read", lambda: len(prometheus.query(f'pg_up{{namespace="{NAMESPACE}"}} == 1')) == 3)
    time.sleep(8)  # twice as long as an alert waits here: what would fire has fired
    assert prometheus.firing() == {}
    assert prometheus.silent(metrics.POSTGRES) == []

    lab.kill("postgres-2")
    firing = prometheus.await_firing("PostgresInstanceDown", "PostgresStandbyMissing")
    assert firing["PostgresInstanceDown"]["labels"]["instance"] == "postgres-2"
    assert (
        firing["PostgresStandbyMissing"]["annotations"]["summary"]
        == f"1 of 2 standbys of {NAMESPACE} follow the primary"
    )
    assert "PostgresDown" not in firing
    lab.kill("postgres-1")
    lab.kill("postgres-0")
    down = prometheus.await_firing("PostgresDown")["PostgresDown"]
    assert (down["labels"]["severity"], down["labels"]["environment"]) == ("critical", "mainnet")
    assert down["annotations"]["runbook_url"].endswith("/alerts.md#postgresdown")


def test_redis_and_its_sentinels_export_what_rules_and_dashboards_use_and_their_end_is_told(lab: Lab) -> None:
    cluster = redis.Cluster(lab)
    for ordinal in cluster.members:
        cluster.start(ordinal)
    exporter = exporters.redis("image", settings().placement.workloads)
    authority = write_files(lab.scratch / "authority", {"ca.crt": stacks.authority().certificate})
    pod = start_exporter(
        lab, exporter, "redis_exporter", {CLIENT_DIRECTORY: authority}, REDIS_PASSWORD=redis.OLD["exporter"]
    )

    def masters() -> float:
        return sum(series.get("redis_connected_slaves", 0) for series in asked(pod, "redis").values())

    lab.wait("two replicas follow the master", lambda: masters() == 2, timeout=120)
    # A client that may not do what it asks for.
    lab.pods["redis-0"].run(
        *["env", "REDISCLI_AUTH=health", "redis-cli", "--tls", "--insecure", "--user", "health", "get", "key"]
    )
    found, sentinels = asked(pod, "redis"), asked(pod, "redis-sentinel")
    assert metrics.REDIS - set[str]().union(*(names(series) for series in found.values())) == set()
    for series in sentinels.values():
        assert metrics.SENTINEL - names(series) == set()
    assert redis.OLD["exporter"] not in pod.read("exporter")

    prometheus = Prometheus(lab, "redis", "redis-sentinel", area="redis")
    lab.wait("every server is read", lambda: len(prometheus.query('redis_up{job="redis"} == 1')) == 3)
    time.sleep(8)  # twice as long as an alert waits here: what would fire has fired
    assert prometheus.firing() == {}
    # Nobody has asked for a key.
    assert prometheus.silent(metrics.REDIS | metrics.SENTINEL) == ["Cache hit rate"]
    for ordinal in cluster.members:
        lab.kill(f"redis-{ordinal}")
    firing = prometheus.await_firing("RedisDown", "RedisMasters", "RedisSentinelQuorumLost")
    assert firing["RedisMasters"]["annotations"]["summary"] == f"0 Redis instances of {NAMESPACE} are masters"


def test_the_reports_of_the_backups_are_exported_and_nothing_else_of_the_volume_is(lab: Lab, tmp_path: Path) -> None:
    backups_of_mainnet = settings().backups
    assert backups_of_mainnet is not None
    readers = {each.app: each for each in exporters.reports("image", backups_of_mainnet)}
    reader = readers["postgres-backup-reports"]
    on_volume = volume(tmp_path / "backups", reader.uid, reader.gid)
    job = lab.pod(
        PodSpec(
            name="job",
            number=42,
            uid=reader.uid,
            gid=reader.gid,
            mounts={"/etc/backups": write_files(lab.scratch / "scripts", backups.scripts()), "/backups": on_volume},
        )
    )
    # As the jobs do at their end.
    done = job.run(
        *[
            "sh",
            "-euc",
            'umask 077; kind=postgres partial=/none started=1 took=1 tested=; . "$0"; report 0; report_test 1',
        ],
        "/etc/backups/lib.sh",
    )
    assert done.returncode == 0, done.stderr
    pod = start_exporter(lab, reader, "node_exporter", {"/reports": on_volume / "reports"})
    series = exported(pod, f"localhost:{reader.port}/metrics")
    assert series["node_textfile_scrape_error"] == 0
    assert series['gx_backup_last_run_success{kind="postgres"}'] == 1
    assert series['gx_restore_test_success{kind="postgres"}'] == 0
    of_jobs = {name for name in metrics.BACKUPS if not name.startswith("gx_off_site")}
    assert names(series) - of_jobs <= {"node_textfile_mtime_seconds", "node_exporter_build_info"} | {
        name for name in names(series) if name.startswith("node_scrape_collector_")
    }
    assert of_jobs <= names(series)
