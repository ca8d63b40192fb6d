"""Backups, their tests and restores on the deployed stack: the cluster's Jobs, and the operator's commands."""

import os
import subprocess
from collections.abc import Iterator

import pytest

from sandbox.stacks import render
from tests.engine.databases import Databases
from tests.engine.stack import BIN, LAYOUT, Ran, Stack, awaited, kubectl


@pytest.fixture
def databases(mainnet: Stack) -> Iterator[Databases]:
    """Mainnet's databases with a table of their own, and without it at the end."""
    found = Databases(mainnet)
    found.ask(0, "drop table if exists kept; set role gx_owner; create table kept as select 1 as id", "gx_protocol")
    yield found
    found.ask(0, "drop schema if exists restored cascade; drop table if exists kept", "gx_protocol")
    jobs = kubectl("get", "jobs", "-n", mainnet.namespace, "-o", "name").split()
    made = [name for name in jobs if "-by-hand" in name or "-restore-2" in name]
    kubectl("delete", "-n", mainnet.namespace, *made)


def ran_by_hand(stack: Stack, cron_job: str) -> str:
    """Run a scheduled job now, to its good end. Returns its log."""
    name = f"{cron_job}-by-hand"
    kubectl("create", "job", "-n", stack.namespace, name, f"--from=cronjob/{cron_job}")
    kubectl("wait", "-n", stack.namespace, f"job/{name}", "--for=condition=Complete", "--timeout=300s")
    # Of every pod: where the schedule's own run has the volume, the first one gives up, and another follows.
    return kubectl("logs", "-n", stack.namespace, "-l", f"batch.kubernetes.io/job-name={name}", "--tail=-1")


def restore(stack: Stack, *argv: str) -> Ran:
    """The operator's command."""
    python = LAYOUT.root / ".venv/bin/python"
    done = subprocess.run(
        [python, "-m", "operations.restore", stack.name, *argv, "--config-file", render(stack.name)],
        cwd=LAYOUT.root,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    return Ran(done.returncode, done.stdout)


def test_what_is_backed_up_is_tested_and_comes_back(mainnet: Stack, databases: Databases) -> None:
    assert " is good: " in ran_by_hand(mainnet, "postgres-backup")
    assert " is restorable: " in ran_by_hand(mainnet, "postgres-restore-test")
    databases.ask(0, "update kept set id = 2", "gx_protocol")

    beside = restore(mainnet, "table", "public.kept", "--execute").ok()
    assert "restored: 1 rows are in " in beside.output
    tables = databases.ask(0, "select tablename from pg_tables where schemaname = 'restored'", "gx_protocol")
    assert databases.ask(0, f"table restored.{tables}", "gx_protocol") == "1"
    assert databases.ask(0, "select id from kept", "gx_protocol") == "2"

    refused = restore(mainnet, "database", "--execute")
    assert refused.code == 1
    assert "the live database holds rows. Fix: add --overwrite" in refused.output
    assert "dry run: nothing was changed" in restore(mainnet, "database", "--overwrite").ok().output
    assert databases.ask(0, "select id from kept", "gx_protocol") == "2"

    restore(mainnet, "database", "--overwrite", "--execute").ok()
    awaited(
        "every instance has what was backed up",
        lambda: all(databases.ask(ordinal, "select id from kept", "gx_protocol") == "1" for ordinal in range(3)),
    )


def test_redis_is_backed_up_and_the_backup_is_tested(mainnet: Stack, databases: Databases) -> None:
    assert " is good: " in ran_by_hand(mainnet, "redis-backup")
    assert " is restorable: " in ran_by_hand(mainnet, "redis-restore-test")
    assert "plan: replace them by the keys" in restore(mainnet, "redis", "--overwrite").ok().output
