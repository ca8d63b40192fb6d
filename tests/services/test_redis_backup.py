"""Backups and restores of a real Redis: a bad one never counts, and every key comes back with its type and its end."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.backups.pod import redis
from tests.services.backup_jobs import Jobs, killed_at_every_moment, small_volume
from tests.services.pods import Lab
from tests.services.test_redis_scripts import ADDRESSES, GID, OLD, UID, Cluster, host

SEED = 20261126
KILLS = int(os.environ.get("GX_BACKUP_KILLS", "10"))
KEYS = 100_003
FILL = """
for n = 1, 100000 do redis.call('SET', 'plain:' .. n, string.rep(n, 30)) end
redis.call('RPUSH', 'queue', 'a', 'b', 'c\\n\\0d')
redis.call('HSET', 'hash', 'field', 'value')
redis.call('SET', 'with an end', 'x', 'EX', 10000)
return redis.call('DBSIZE')
"""

# The application may not flush.
EMPTY = """
local at = '0'
repeat
    local found = redis.call('SCAN', at, 'COUNT', 1000)
    at = found[1]
    if #found[2] > 0 then redis.call('UNLINK', unpack(found[2])) end
until at == '0'
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Lab(tmp_path, ADDRESSES | {"redis-master": 10}) as lab:
        cluster = Cluster(lab, members=1)
        cluster.configure(max_memory="256Mi")
        cluster.start(0)
        lab.wait("the server answers", lambda: cluster.command(host(0), "PING") == "PONG")
        assert cluster.command(host(0), "EVAL", FILL, "0") == str(KEYS)
        yield cluster


@pytest.fixture
def jobs(cluster: Cluster) -> Jobs:
    env = {**redis().host, "REDISCLI_AUTH": OLD["backup"]}
    return Jobs(lab=cluster.lab, uid=UID, gid=GID, env=env)


def backup(jobs: Jobs) -> None:
    done = jobs.run("redis-backup.sh")
    assert done.returncode == 0, done.stderr


def restore(jobs: Jobs, **env: str) -> tuple[int, str]:
    login = {"REDIS_USER": "application", "REDISCLI_AUTH": OLD["application"]}
    done = jobs.run("redis-restore.sh", **login, **env)
    return done.returncode, done.stderr


def test_every_key_comes_back_and_only_with_both_words(cluster: Cluster, jobs: Jobs) -> None:
    backup(jobs)
    assert (jobs.newest() / "keys").read_text().strip() == str(KEYS)
    assert jobs.metrics()["gx_backup_last_run_success"] == 1
    cluster.command(host(0), "SET", "newer", "1")
    cluster.command(host(0), "DEL", "queue", "hash", "plain:7")

    status, said = restore(jobs, EXECUTE="yes")
    assert (status, "Fix: add --overwrite" in said) == (2, True), said
    status, said = restore(jobs, OVERWRITE="yes")
    assert (status, "dry run: nothing was changed" in said) == (0, True), said
    assert cluster.command(host(0), "EXISTS", "newer", "queue") == "1"

    status, said = restore(jobs, OVERWRITE="yes", EXECUTE="yes")
    assert status == 0, said
    assert cluster.command(host(0), "DBSIZE") == str(KEYS)
    assert cluster.command(host(0), "EXISTS", "newer") == "0"
    assert cluster.command(host(0), "LRANGE", "queue", "0", "1").split() == ["a", "b"]
    assert cluster.command(host(0), "STRLEN", "plain:7") == "30"
    assert cluster.command(host(0), "HGET", "hash", "field") == "value"
    assert 0 < int(cluster.command(host(0), "TTL", "with an end")) <= 10000
    # The server's own file has it all too: what is restored outlives a restart.
    cluster.lab.kill("redis-0")
    cluster.start(0)
    cluster.lab.wait("the server is back", lambda: cluster.command(host(0), "DBSIZE", asker="redis-0") == str(KEYS))


def test_a_backup_of_an_empty_server_is_passed_over(cluster: Cluster, jobs: Jobs) -> None:
    """A new cluster makes one by schedule, before anybody has restored the old cluster's."""
    backup(jobs)
    cluster.command(host(0), "EVAL", EMPTY, "0")
    backup(jobs)
    assert (jobs.newest() / "keys").read_text().strip() == "0"
    status, said = restore(jobs, EXECUTE="yes")
    assert (status, "passed over: every backup after it" in said) == (0, True), said
    assert cluster.command(host(0), "DBSIZE") == str(KEYS)


def test_the_restore_test_loads_the_newest_backup_and_compares_the_keys(jobs: Jobs) -> None:
    backup(jobs)
    done = jobs.run("redis-restore-test.sh", REDISCLI_AUTH="", REDIS_HOST="")
    assert done.returncode == 0, done.stderr
    assert jobs.metrics("restore-test")["gx_restore_test_success"] == 1
    (jobs.newest() / "keys").write_text("5\n")
    done = jobs.run("redis-restore-test.sh", REDISCLI_AUTH="", REDIS_HOST="")
    assert done.returncode == 1
    assert jobs.metrics("restore-test")["gx_restore_test_success"] == 0


def test_a_bad_copy_never_counts(jobs: Jobs) -> None:
    """Killed at seeded moments, no room for it, bits that flip, and an end that goes missing."""
    with small_volume(jobs, "128m"):
        chance = random.Random(SEED)  # noqa: S311 - no secret depends on it
        killed_at_every_moment(jobs, "redis-backup.sh", backup, KILLS, chance)
        good = jobs.sets()

        smaller = jobs.backups / "20990101T000000Z"
        smaller.mkdir()
        filler = jobs.backups / "filler"
        space = jobs.free()
        filler.write_bytes(bytes(space - 2 * 2**20))
        failed = jobs.run("redis-backup.sh")
        smaller.rmdir()
        filler.unlink()
        assert failed.returncode == 1, failed.stderr
        assert jobs.sets() == good

        pod = jobs.pod()
        check = '. /etc/backups/lib.sh; . /etc/backups/redis-lib.sh; verify "$1"'
        dump = jobs.newest() / "dump.rdb"
        whole = dump.read_bytes()
        for number in range(10):
            damaged = bytearray(whole)
            if number % 2:
                damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
            else:
                del damaged[chance.randrange(len(whole)) :]
            dump.write_bytes(damaged)
            verdict = pod.run("sh", "-c", check, "/etc/backups/x", f"/backups/{dump.parent.name}")
            assert verdict.returncode == 1, number


def test_a_server_that_dies_during_the_copy_makes_no_backup(cluster: Cluster, jobs: Jobs) -> None:
    backup(jobs)
    good = jobs.sets()
    # The server takes its time, a millisecond a key, so that the kill comes in the midst of it.
    login = ["env", f"REDISCLI_AUTH={OLD['sentinel']}", *cluster.cli(cluster.lab.pods["redis-0"]), "--user", "sentinel"]
    slow = cluster.lab.pods["redis-0"].run(*login, "CONFIG", "SET", "rdb-key-save-delay", "1000")
    assert slow.stdout.strip() == "OK"
    pod = jobs.pod(TRIES="2")
    pod.start("backup", "sh", "/etc/backups/redis-backup.sh")
    cluster.lab.wait("the copy begins", lambda: bool(list(jobs.backups.glob(".partial*/dump.rdb"))))
    cluster.lab.kill("redis-0")
    cluster.lab.wait("the job ends", lambda: not pod.runs("backup"))
    assert jobs.sets() == good
    assert jobs.intact()
    assert "failed: the copy was cut short" in pod.read("backup")
    assert jobs.metrics()["gx_backup_last_run_success"] == 0
