"""What the Postgres containers are given, as their settings ask for it."""

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from components.postgres import config
from components.postgres.pod import PodArgs, pod_spec
from components.tls import CLIENT_AUTHORITY
from settings.model import Postgres
from tests import stacks


@pytest.fixture
def mainnet() -> Postgres:
    return stacks.settings("mainnet").postgres


def test_a_commit_waits_for_any_one_of_the_standbys(mainnet: Postgres) -> None:
    files = config.files(mainnet)
    expected = """synchronous_standby_names = 'ANY 1 ("postgres-0", "postgres-1", "postgres-2")'"""
    assert expected in files["postgresql.conf"]


def test_a_single_instance_waits_for_nobody() -> None:
    testnet = stacks.settings("testnet").postgres
    assert testnet.replicas == 1
    assert "synchronous_standby_names = ''" in config.files(testnet)["postgresql.conf"]


def test_a_new_primary_in_the_settings_changes_no_more_than_the_file_that_is_read_at_run_time(
    mainnet: Postgres,
) -> None:
    moved = mainnet.model_copy(update={"primary_ordinal": 2, "allow_bootstrap": False})
    before, after = config.files(mainnet), config.files(moved)
    assert {name for name in before if before[name] != after[name]} == {"cluster.env"}
    assert config.restart_settings(mainnet) == config.restart_settings(moved)
    assert json.dumps(pod(mainnet), default=str) == json.dumps(pod(moved), default=str)


def test_the_number_of_connections_rolls_the_instances_and_the_size_of_the_log_does_not(mainnet: Postgres) -> None:
    restart = config.restart_settings(mainnet)
    assert config.restart_settings(mainnet.model_copy(update={"max_connections": 400})) != restart
    assert config.restart_settings(mainnet.model_copy(update={"storage": "50Gi"})) == restart


@pytest.mark.parametrize(
    ("limit", "connections", "shared", "work"), [("4Gi", 300, 1024, 4), ("16Gi", 100, 4096, 40), ("256Mi", 50, 64, 4)]
)
def test_memory_settings_follow_the_limit(limit: str, connections: int, shared: int, work: int) -> None:
    memory = config.Memory.of(limit, connections)
    assert (memory.shared_buffers_mb, memory.work_mem_mb) == (shared, work)


@pytest.mark.parametrize("storage", ["1Gi", "20Gi", "100Gi", "2Ti"])
def test_the_write_ahead_log_leaves_most_of_the_volume_to_the_data(storage: str) -> None:
    log = config.WriteAheadLog.of(storage)
    volume_mb = {"1Gi": 1024, "20Gi": 20480, "100Gi": 102400, "2Ti": 2097152}[storage]
    assert log.min_wal_size_mb <= log.max_wal_size_mb
    assert log.max_wal_size_mb + log.max_slot_wal_keep_size_mb < volume_mb / 2


def test_a_url_escapes_what_a_password_may_hold() -> None:
    url = config.url(role="gx_owner", password="p@ss/w:rd?#", host="db", database="gx protocol")  # noqa: S106
    assert url.startswith("postgresql://gx_owner:p%40ss%2Fw%3Ard%3F%23@db:5432/gx%20protocol?")


def test_a_url_has_prisma_verify_the_server_and_keep_to_its_pool() -> None:
    url = config.url(role="gx_owner", password="p", host="db", database="gx", pool=5)  # noqa: S106
    assert parse_qs(urlsplit(url).query) == {
        "sslmode": ["require"],
        "sslaccept": ["strict"],
        "sslcert": [CLIENT_AUTHORITY],
        "connection_limit": ["5"],
    }


def test_nobody_may_connect_over_the_network_in_clear(mainnet: Postgres) -> None:
    files = config.files(mainnet)
    lines = [line.split()[0] for line in files["pg_hba.conf"].splitlines() if line and not line.startswith("#")]
    assert set(lines) == {"local", "hostssl"}
    assert "ssl = on\n" in files["postgresql.conf"]


def test_names_from_the_stack_file_cannot_leave_their_place_in_the_environment_file(mainnet: Postgres) -> None:
    odd = mainnet.model_copy(update={"database": "gx; rm -rf /"})
    assert "DATABASE='gx; rm -rf /'" in config.files(odd)["cluster.env"]


def test_no_password_is_in_the_config_map(mainnet: Postgres) -> None:
    secrets = stacks.settings("mainnet").secrets.postgres
    passwords = config.passwords(secrets).values()
    assert len(set(passwords)) == 8
    assert not [password for password in passwords if password in json.dumps(config.files(mainnet))]


def test_a_liveness_probe_does_not_end_a_server_that_recovers(mainnet: Postgres) -> None:
    (server,) = pod(mainnet)["containers"]
    assert server["liveness_probe"]["exec"]["command"][-1].endswith("; test $? -ne 2")
    assert server["startup_probe"]["period_seconds"] * server["startup_probe"]["failure_threshold"] >= 3600


def pod(settings: Postgres) -> dict[str, Any]:
    placement = stacks.settings("mainnet").placement.databases
    return pod_spec(
        PodArgs(
            settings=settings,
            placement=placement,
            image="docker.io/library/postgres:15-alpine",
            priority_class="backend",
            account="postgres",
            config_map="postgres-config",
            secret="postgres-secrets",  # noqa: S106 - the name of the Secret
            tls="postgres-tls",
        )
    )
