"""What the containers of Redis and its proxy are given, as their settings ask for it."""

import json

import pytest

from components.redis import config
from settings.model import Redis
from tests import stacks


@pytest.fixture
def mainnet() -> Redis:
    return stacks.settings("mainnet").redis


def test_a_master_without_replicas_refuses_writes_and_a_single_instance_does_not(mainnet: Redis) -> None:
    assert "min-replicas-to-write 1" in config.files(mainnet)["redis.conf"]
    testnet = stacks.settings("testnet").redis
    assert testnet.replicas == 1
    assert "min-replicas-to-write 0" in config.files(testnet)["redis.conf"]


def test_a_master_that_is_cut_off_stops_writing_before_another_is_chosen(mainnet: Redis) -> None:
    lag = next(
        line for line in config.files(mainnet)["redis.conf"].splitlines() if line.startswith("min-replicas-max-lag")
    )
    assert int(lag.split()[1]) * 1000 <= config.DOWN_AFTER_MS


def test_a_majority_of_the_sentinels_decides(mainnet: Redis) -> None:
    five = mainnet.model_copy(update={"replicas": 5})
    assert "QUORUM=2" in config.files(mainnet)["cluster.env"]
    assert "QUORUM=3" in config.files(five)["cluster.env"]
    assert config.proxy_files(five, "")["haproxy.cfg"].count("ge 3 }") == 10


def test_everything_that_needs_no_restart_can_be_set_by_one_command_each(mainnet: Redis) -> None:
    lines = [line for line in config.files(mainnet)["redis.conf"].splitlines() if line and not line.startswith("#")]
    keys = [line.split()[0] for line in lines]
    assert len(keys) == len(set(keys)) > 10
    assert not {"port", "bind", "dir", "aclfile", "appendonly"} & set(keys)


def test_memory_changes_no_setting_that_rolls_the_instances(mainnet: Redis) -> None:
    before, after = config.files(mainnet), config.files(mainnet.model_copy(update={"max_memory": "2Gi"}))
    assert {name for name in before if before[name] != after[name]} == {"redis.conf"}


def test_the_acl_files_hold_no_password_in_clear_and_nobody_may_do_anything_without_a_name() -> None:
    secrets = stacks.settings("mainnet").secrets.redis
    passwords = [getattr(secrets, field) for field in type(secrets).model_fields]
    assert len(passwords) == 5
    for acl in (config.server_acl(secrets), config.sentinel_acl(secrets)):
        assert acl.startswith("user default off")
        assert "nopass" not in acl.splitlines()[0]
        assert "#" in acl
        assert not [password for password in passwords if password.get_secret_value() in acl]


def test_no_password_is_in_a_config_map(mainnet: Redis) -> None:
    secrets = config.server_secrets(stacks.settings("mainnet").secrets.redis)
    text = json.dumps(config.files(mainnet) | config.proxy_files(mainnet, ""))
    assert secrets["sentinel"] not in text
    assert secrets["replication"] not in text


def test_a_url_escapes_what_a_password_may_hold() -> None:
    assert config.url("p@ss/w:rd", "redis-master") == "rediss://application:p%40ss%2Fw%3Ard@redis-master:6379/0"
