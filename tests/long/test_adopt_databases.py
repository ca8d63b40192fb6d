"""One database of three independent primaries: the commands of the runbook itself, in its order and once back."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sandbox.stacks import render
from settings import stackfile
from tests.bench import scratch
from tests.bench.engine import write_config
from tests.engine.databases import Databases
from tests.engine.stack import BIN, ROOT, Stack, awaited, get, kubectl, run
from tests.long.runbook_blocks import follow

NAME = "adopted"
NAMESPACE = f"backend-{NAME}"
SERVICE = "svc-tax"
PAGE = "adopt-databases.md"
FORMER = Path(__file__).with_name("former-databases.yaml")
INSTANCES = range(3)
PSQL = ("psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", "/var/run/postgresql", "-U", "gx_admin", "-d", "gx_protocol")
TABLE = "create table wallet (id int primary key, owner text not null)"
# The chosen instance has most; another one has rows that it lacks, and another owner for one that it has.
ROWS = {
    0: "insert into wallet select n, 'a' || n from generate_series(1, 300) n",
    1: "insert into wallet select n, 'a' || n from generate_series(1, 100) n where n <> 50; "
    "insert into wallet select n, 'b' || n from generate_series(301, 400) n; insert into wallet values (50, 'other')",
    2: "insert into wallet select n, 'c' || n from generate_series(401, 420) n",
}
COUNTS = {0: "300", 1: "200", 2: "20"}


def patch() -> dict[str, object]:
    """What makes of testnet's stack file one with three instances of Postgres and one service."""
    base = stackfile.config(render("testnet").read_text(encoding="utf-8"))
    services = base["services"]
    assert isinstance(services, dict)
    nodes = base["cluster"]
    assert isinstance(nodes, dict)
    gone: dict[str, object] = {name: None for name in services if name != SERVICE}
    small = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "500m", "memory": "512Mi"}}
    return {
        **scratch.settings(NAME, NAMESPACE),
        "placement": {"databases": {"require": {"hostnames": list(nodes["nodes"])}}},
        "quota": {"persistentVolumeClaims": 10, "requestsStorage": "600Gi"},
        "postgres": {**small, "replicas": 3, "allowBootstrap": True},
        "workers": {name: {"fabricAccess": False} for name in ("outbox-submitter", "projector")},
        "services": {**gone, SERVICE: {"fabricAccess": False, "nodePort": None}},
        "migration": None,
        "images": {"migration": None, "workloads": gone},
    }


@dataclass(frozen=True)
class Former:
    """The former servers, the directory of whoever adopts them, and the stack that is to come."""

    directory: Path
    stack: Stack

    def follow(self, words: str, *, fails: bool = False) -> str:
        """Do a step of the page, on this stack instead of mainnet."""
        command = f"adopt_databases --config-file {self.stack.config} {NAME}"
        instead = {"backend-mainnet": NAMESPACE, "adopt_databases mainnet": command}
        return follow(PAGE, words, namespace=NAMESPACE, directory=self.directory, instead=instead, fails=fails)


def sql(ordinal: int, *statements: str) -> str:
    """What an instance answers its superuser."""
    words = [word for each in statements for word in ("-c", each)]
    said = kubectl("exec", "-n", NAMESPACE, f"postgres-{ordinal}", "-c", "postgres", "--", *PSQL, *words)
    # kubectl complains of its own streams before it, now and then.
    return said.strip().rpartition("\n")[2]


def former_serve() -> None:
    """Wait until the three former servers are ready, each with its own rows."""
    kubectl("rollout", "status", "statefulset/postgres", "-n", NAMESPACE, "--timeout=180s")
    assert {each: sql(each, "select count(*) from wallet") for each in INSTANCES} == COUNTS


def adopt(former: Former) -> None:
    """Take over what is left of the former objects: the namespace, the Service."""
    former.stack.operate("adopt", "--yes").ok()
    (ROOT / f"adopt.{NAME}.json").unlink()


def encrypt_keys(config: Path) -> None:
    """Encrypt what `patch` has in clear: the commands beside Pulumi refuse it otherwise."""
    own = stackfile.config(config.read_text(encoding="utf-8"))["secrets"]
    assert isinstance(own, dict)
    for name, key in own["tls"].items():
        place = f"{stackfile.PROJECT}:secrets.tls.{name}"
        argv = ("config", "set", "--stack", NAME, "--config-file", config, "--secret", "--path", place)
        run(BIN / "pulumi", *argv, stdin=key).ok()


@pytest.fixture
def former(deployed: None, tmp_path: Path) -> Iterator[Former]:
    """The former servers with their rows, and a stack file for what is to come."""
    config = write_config(tmp_path / f"Pulumi.{NAME}.yaml", render("testnet"), patch())
    project = tmp_path / "project"
    project.mkdir()
    shutil.copy(ROOT / "Pulumi.yaml", project)
    run(BIN / "pulumi", "stack", "init", NAME, "--no-select", "--cwd", project).ok()
    encrypt_keys(config)
    try:
        kubectl("create", "namespace", NAMESPACE)
        kubectl("apply", "-n", NAMESPACE, "-f", str(FORMER))
        kubectl("rollout", "status", "statefulset/postgres", "-n", NAMESPACE, "--timeout=180s")
        for each in INSTANCES:
            sql(each, TABLE, ROWS[each])
        yield Former(tmp_path, Stack(NAME, config))
    finally:
        scratch.remove(NAMESPACE)
        volumes = json.loads(kubectl("get", "persistentvolumes", "-o", "json"))["items"]
        own = [each for each in volumes if each["spec"].get("claimRef", {}).get("namespace") == NAMESPACE]
        for each in own:
            kubectl("delete", "persistentvolume", each["metadata"]["name"])
        run(BIN / "pulumi", "stack", "rm", NAME, "--yes", "--force", "--cwd", project).ok()


def test_the_runbook_moves_every_row_of_three_independent_primaries(former: Former) -> None:
    former.follow("former.yaml)")
    former.follow("ALTER SYSTEM SET default_transaction_read_only")
    refused = run(BIN / "kubectl", "exec", "-n", NAMESPACE, "postgres-0", "--", *PSQL, "-c", "delete from wallet")
    assert "read-only transaction" in refused.output
    said = former.follow("mainnet dump --execute")
    assert said.count("dry run") >= len(INSTANCES), said
    said = former.follow("compare --chosen postgres-0")
    assert "public.wallet" in said

    # Aside, back, and aside again: the way back is a part of the page.
    aside, delete = "gxcoin.money/former=postgres-$n", "k delete secret postgres-secrets"
    former.follow(aside)
    former.follow(delete)
    former.follow("create -f former.yaml", fails=True)
    former_serve()
    former.follow(aside)
    former.follow(delete)

    adopt(former)
    former.stack.up().ok()
    databases = Databases(former.stack)
    awaited("two standbys", lambda: databases.redundant(0))

    said = former.follow("move --chosen postgres-0 --take-rows --execute")
    assert sql(0, "select count(*), count(distinct id), min(id), max(id) from wallet") == "420|420|1|420"
    assert sql(0, "select owner from wallet where id = 50") == "a50"
    assert sql(0, "select source, key from adopted.rows") == "postgres-1|(50)", said
    former.stack.pulumi("preview", "--expect-no-changes").ok()
    volumes = get("persistentvolumes", NAMESPACE, "-l", "gxcoin.money/former")
    assert [each["spec"]["persistentVolumeReclaimPolicy"] for each in volumes] == ["Retain"] * 3
