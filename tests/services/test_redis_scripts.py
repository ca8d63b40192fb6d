"""The scripts and files of the Redis pods and the proxy, run against real servers as pods of their own."""

import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from components import tls
from components.redis import config
from components.redis.pod import PodArgs, server_pod
from components.tls import ServerTls, server_files
from settings import certificates
from settings.certificates import Pair
from settings.model import RedisSecrets
from tests import stacks
from tests.services.pods import NAMESPACE, Lab, Pod, PodSpec, volume, write_files

UID, GID, PROXY_UID = 999, 1000, 99
OLD = {
    "application": 'an "application" \\ password',
    "replication": 'a "replication" one',
    "sentinel": "a sentinel's",
    "backup": "a backup's",
    "exporter": "an exporter's",
}
NEW = {user: f"canary-{user}" for user in OLD}
PROXY = "redis-proxy"
# The sentinels' patience here; in production it is config.DOWN_AFTER_MS.
DOWN_AFTER_MS = 2000
ADDRESSES = {f"redis-{ordinal}.redis-headless": 10 + ordinal for ordinal in range(3)} | {PROXY: 20}


def host(ordinal: int) -> str:
    return f"redis-{ordinal}.redis-headless.{NAMESPACE}.svc.cluster.local"


class Cluster:
    """Instances of the mainnet settings with their sentinels and the proxy; sentinels are impatient here."""

    def __init__(self, lab: Lab, members: int = 3) -> None:
        self.lab = lab
        self.members = range(members)
        self.passwords = OLD
        self._settings = stacks.settings("mainnet").redis.model_copy(update={"replicas": members})
        self.configure(max_memory="64Mi")
        self.set_passwords(OLD)
        self.authority = stacks.authority().certificate
        self.set_certificate(stacks.server("redis", NAMESPACE), self.authority)

    def configure(self, **update: object) -> None:
        """Change settings, as a changed ConfigMap does."""
        self._settings = self._settings.model_copy(update=update)
        write_files(self.lab.scratch / "config", self.files())

    def files(self) -> dict[str, str]:
        """The files of the ConfigMap as they are here."""
        files = config.files(self._settings)
        timing = files["timing.conf"].replace(str(config.DOWN_AFTER_MS), str(DOWN_AFTER_MS))
        files["timing.conf"] = timing.replace("failover-timeout gx 30000", "failover-timeout gx 5000")
        return files

    def pod_args(self) -> PodArgs:
        """What the pod is made from in production."""
        return PodArgs(
            settings=self._settings,
            placement=stacks.settings("mainnet").placement.databases,
            image="docker.io/library/redis:7-alpine",
            priority_class="backend",
            account="redis",
            config_map="redis-config",
        )

    def set_passwords(self, passwords: dict[str, str]) -> None:
        """Change passwords, as a changed Secret does."""
        self.passwords = passwords
        files = config.server_secrets(RedisSecrets.model_validate(passwords))
        write_files(self.lab.scratch / "secrets", files, mode=0o440, gid=GID)

    def set_certificate(self, pair: Pair, authority: str) -> None:
        """Change the certificate and the authorities, as a changed Secret does."""
        files = server_files(ServerTls(certificate=pair.certificate, key=SecretStr(pair.key), authority=authority))
        write_files(self.lab.scratch / "tls", files, mode=0o440, gid=GID)

    def start(self, ordinal: int) -> Pod:
        """Start a pod with the containers it has in production."""
        pod = self.lab.pod(
            PodSpec(
                name=f"redis-{ordinal}",
                number=10 + ordinal,
                uid=UID,
                gid=GID,
                mounts={
                    "/etc/redis": self.lab.scratch / "config",
                    "/etc/redis-secrets": self.lab.scratch / "secrets",
                    config.TLS: self.lab.scratch / "tls",
                    "/data": volume(self.lab.scratch / f"data-{ordinal}", UID, GID),
                    "/tmp": volume(self.lab.scratch / f"tmp-{ordinal}", UID, GID),  # noqa: S108 - in the pod
                },
                env={"WATCH_SECONDS": "0.5", "SETTLE_SECONDS": "3"},
            )
        )
        pod.start("redis", "sh", "/etc/redis/serve.sh")
        if len(self.members) > 1:
            pod.start("sentinel", "sh", "/etc/redis/sentinel.sh")
        return pod

    def start_proxy(self) -> None:
        """Start a proxy."""
        write_files(self.lab.scratch / "proxy-config", config.proxy_files(self._settings, self.authority))
        mounts = {"/etc/haproxy": self.lab.scratch / "proxy-config"}
        pod = self.lab.pod(PodSpec(name=PROXY, number=20, uid=PROXY_UID, gid=PROXY_UID, mounts=mounts))
        pod.start("haproxy", "haproxy", "-W", "-db", "-f", "/etc/haproxy/haproxy.cfg")

    def command(self, target: str, *words: str, asker: str | None = None) -> str:
        """What a server or the proxy answers the application in another pod; empty when it does not answer."""
        pod = self.lab.pods[asker or next(iter(self.lab.pods))]
        login = ["env", f"REDISCLI_AUTH={self.passwords['application']}", "timeout", "5", *self.cli(pod)]
        try:
            return pod.run(*login, "--user", "application", "-h", target, *words).stdout.strip()
        except subprocess.TimeoutExpired:
            return ""

    @staticmethod
    def cli(pod: Pod) -> list[str]:
        """A client that verifies the server with the authority that its pod has."""
        directory = "/etc/haproxy" if pod.spec.name == PROXY else config.TLS
        return ["redis-cli", "--no-auth-warning", "--tls", "--cacert", f"{directory}/ca.crt"]

    def as_user(self, user: str, target: str, *words: str) -> str:
        """What a server answers another user than the application, errors included."""
        pod = self.lab.pods[PROXY]
        login = ["env", f"REDISCLI_AUTH={self.passwords[user]}", "timeout", "10", *self.cli(pod)]
        done = pod.run(*login, "--user", user, "-h", target, *words)
        return (done.stdout + done.stderr).strip()

    def role(self, ordinal: int) -> tuple[str, str]:
        """Role of an instance, and whether a replica is connected to its master."""
        if f"redis-{ordinal}" not in self.lab.pods:
            return ("", "")
        pod = self.lab.pods[f"redis-{ordinal}"]
        answer = pod.run("env", "REDISCLI_AUTH=health", *self.cli(pod), "--user", "health", "ROLE")
        lines = [*answer.stdout.splitlines(), "", "", "", ""]
        return lines[0], lines[3] if lines[0] == "slave" else ""

    def runs(self) -> list[str]:
        """Which run of its server each instance is in."""
        servers = [self.command(host(ordinal), "INFO", "server") for ordinal in self.members]
        return [line for server in servers for line in server.splitlines() if line.startswith("run_id")]

    def ready(self, ordinal: int) -> bool:
        """What the readiness probe says."""
        return self.lab.pods[f"redis-{ordinal}"].run("sh", "/etc/redis/ready.sh").returncode == 0

    def master(self) -> int | None:
        """The one master, if there is exactly one."""
        masters = [ordinal for ordinal in self.members if self.role(ordinal)[0] == "master"]
        return masters[0] if len(masters) == 1 else None

    def the_master(self) -> int:
        """The one master."""
        master = self.master()
        assert master is not None
        return master

    def await_replicated(self) -> None:
        """Wait until there is one master, every other instance follows it, and the proxy leads there."""

        def settled() -> bool:
            roles = sorted(self.role(ordinal) for ordinal in self.members)
            return roles == [("master", "")] + [("slave", "connected")] * (len(self.members) - 1)

        self.lab.wait("one master and connected replicas", settled)
        self.lab.wait("a write is accepted", lambda: self.command(PROXY, "SET", "probe", "1") == "OK")

    def await_written(self) -> None:
        """Wait until what the master has accepted is on its disk: fsync comes every second."""
        self.lab.wait(
            "it is on the disk", lambda: "aof_pending_bio_fsync:0" in self.command(PROXY, "INFO", "persistence")
        )

    def await_trusted(self, ordinal: int, port: str, authority: str) -> None:
        """Wait until a client with that authority alone accepts a server or a sentinel."""
        ping = ("redis-cli", "--tls", "--cacert", authority, "-h", host(ordinal), "-p", port, "PING")
        self.lab.wait(
            f"redis-{ordinal} is trusted on {port}", lambda: "NOAUTH" in self.lab.pods[PROXY].run(*ping).stdout
        )

    def await_says(self, pod: str, container: str, words: str) -> None:
        """Wait until a container gives a reason."""
        self.lab.wait(f"{pod} says '{words}'", lambda: words in self.lab.pods[pod].read(container))


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path, ADDRESSES) as running:
        yield running


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Lab(tmp_path_factory.mktemp("cluster"), ADDRESSES) as lab:
        cluster = Cluster(lab)
        cluster.start_proxy()
        yield cluster


@pytest.fixture
def cluster(started: Cluster) -> Cluster:
    """A master, two replicas, and the proxy on the master, whatever an earlier test did to them."""
    for ordinal in started.members:
        if f"redis-{ordinal}" not in started.lab.pods:
            started.start(ordinal)
    started.await_replicated()
    return started


def test_empty_instances_become_one_master_and_ready_replicas(cluster: Cluster) -> None:
    assert all(cluster.ready(ordinal) for ordinal in cluster.members)
    assert cluster.command(PROXY, "CONFIG", "GET", "maxmemory").startswith("NOPERM")
    master = cluster.the_master()
    assert host(master) in cluster.command(host(master), "-p", "26379", "SENTINEL", "get-master-addr-by-name", "gx")
    assert "READONLY" in cluster.command(host((master + 1) % 3), "SET", "a", "1")


def failing_probes(cluster: Cluster) -> list[str]:
    """What does not hold now of the probes of a pod."""
    failing = []
    for container in server_pod(cluster.pod_args(), "redis-secrets", "redis-tls")["containers"]:
        for probe in ("startup_probe", "readiness_probe", "liveness_probe"):
            done = cluster.lab.pods["redis-0"].run(*container[probe]["exec"]["command"])
            if done.returncode:
                failing.append(f"{probe} of {container['name']}: {done.returncode} {done.stdout}{done.stderr}")
    return failing


def test_every_probe_of_the_pod_succeeds(cluster: Cluster) -> None:
    assert failing_probes(cluster) == []


def test_nobody_gets_in_without_a_name_and_its_password(cluster: Cluster) -> None:
    pod = cluster.lab.pods[PROXY]
    assert "NOAUTH" in pod.run(*cluster.cli(pod), "-h", PROXY, "PING").stdout
    wrong = pod.run(*cluster.cli(pod), "-h", PROXY, "--user", "application", "-a", "wrong", "PING")
    assert "WRONGPASS" in wrong.stdout + wrong.stderr
    health = (*cluster.cli(pod), "--user", "health", "-a", "health", "-h", PROXY)
    assert "NOPERM" in pod.run(*health, "GET", "probe").stdout
    assert "NOPERM" in cluster.command(PROXY, "FLUSHALL")


def test_nobody_connects_in_clear_or_to_a_server_that_the_authority_does_not_know(cluster: Cluster) -> None:
    pod, master = cluster.lab.pods[PROXY], host(cluster.the_master())
    other = certificates.new_authority("mainnet", datetime.now(UTC)).certificate
    write_files(cluster.lab.scratch / "proxy-config", {"other.crt": other})
    for target, port in ((PROXY, "6379"), (master, "6379"), (master, "26379")):
        clear = pod.run("timeout", "5", "redis-cli", "-h", target, "-p", port, "PING")
        assert "PONG" not in clear.stdout
        assert "Connection reset" in clear.stderr + clear.stdout or "closed" in clear.stderr + clear.stdout
        untrusted = pod.run(
            "redis-cli", "--tls", "--cacert", "/etc/haproxy/other.crt", "-h", target, "-p", port, "PING"
        )
        assert "certificate verify failed" in untrusted.stderr


def test_the_proxy_leads_to_no_server_that_it_cannot_verify(cluster: Cluster) -> None:
    right = cluster.authority
    try:
        cluster.authority = certificates.new_authority("mainnet", datetime.now(UTC)).certificate
        cluster.lab.kill(PROXY)
        cluster.start_proxy()
        cluster.await_says(PROXY, "haproxy", "SSL handshake failure")
        cluster.lab.wait("the proxy leads nowhere", lambda: cluster.command(PROXY, "PING") == "")
    finally:
        cluster.authority = right
        cluster.lab.kill(PROXY)
        cluster.start_proxy()
    cluster.await_replicated()


def test_replicas_and_sentinels_speak_tls_to_each_other(cluster: Cluster) -> None:
    """No instance listens in clear, so a link that is up is encrypted; it is verified as soon as the server is."""
    master = cluster.the_master()
    assert "connected_slaves:2" in cluster.command(host(master), "INFO", "replication")
    assert "num-other-sentinels" in cluster.command(host(master), "-p", "26379", "SENTINEL", "MASTERS")
    listening = cluster.lab.pods[f"redis-{master}"].run("cat", "/proc/net/tcp").stdout
    assert {line.split()[1].split(":")[1] for line in listening.splitlines()[1:] if line.split()[3] == "0A"} == {
        f"{port:04X}" for port in (config.PORT, config.SENTINEL_PORT)
    }


def test_another_authority_takes_over_without_a_restart_of_the_servers(cluster: Cluster) -> None:
    now = datetime.now(UTC)
    old, new = stacks.authority(), certificates.new_authority("mainnet", now)
    both = old.certificate + new.certificate
    later = certificates.new_server("redis", NAMESPACE, authority=Pair(certificate=both, key=new.key), now=now)
    write_files(cluster.lab.scratch / "proxy-config", {"new.crt": new.certificate})
    before = cluster.runs()
    assert len(before) == 3
    try:
        # The proxy's checks trust both before any server shows the new one, as the order of the runbook has it.
        cluster.authority = both
        cluster.lab.kill(PROXY)
        cluster.start_proxy()
        cluster.set_certificate(later, both)
        for ordinal, port in ((ordinal, port) for ordinal in cluster.members for port in ("6379", "26379")):
            cluster.await_trusted(ordinal, port, "/etc/haproxy/new.crt")
        cluster.await_replicated()
        assert cluster.runs() == before
    finally:
        cluster.set_certificate(stacks.server("redis", NAMESPACE), both)


def test_a_certificate_that_has_ended_restarts_nothing_and_is_replaced_as_it_is_served(cluster: Cluster) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=certificates.SERVER_DAYS + 1)
    ended = certificates.new_server("redis", NAMESPACE, authority=stacks.authority(), now=long_ago)
    before = cluster.runs()
    assert len(before) == 3
    try:
        cluster.set_certificate(ended, cluster.authority)
        cluster.lab.wait(
            "clients refuse it", lambda: not any(cluster.command(host(each), "PING") for each in cluster.members)
        )
        # A sentinel restarts to load a certificate, which fails a probe at most.
        cluster.lab.wait("every probe succeeds", lambda: failing_probes(cluster) == [])
    finally:
        cluster.set_certificate(stacks.server("redis", NAMESPACE), cluster.authority)
    for ordinal in cluster.members:
        cluster.await_trusted(ordinal, "6379", f"/etc/haproxy/{tls.AUTHORITY}")
    cluster.await_replicated()
    assert cluster.runs() == before


def test_the_backup_user_copies_the_data_set_and_reads_or_changes_nothing_by_itself(cluster: Cluster) -> None:
    assert cluster.command(PROXY, "SET", "kept", "in the copy") == "OK"
    assert cluster.command(PROXY, "WAIT", "2", "2000") == "2"
    replica = host((cluster.the_master() + 1) % 3)
    copied = cluster.lab.pods[PROXY].run(
        *["env", f"REDISCLI_AUTH={cluster.passwords['backup']}", "sh", "-ec"],
        'cd /dev/shm; "$@" --user backup --rdb a; redis-check-rdb a; strings a',
        *["sh", *cluster.cli(cluster.lab.pods[PROXY]), "-h", replica],
    )
    assert copied.returncode == 0, copied.stderr
    assert "RDB looks OK" in copied.stdout
    assert "in the copy" in copied.stdout
    assert cluster.as_user("backup", replica, "DBSIZE").isdigit()
    assert "master_link_status:up" in cluster.as_user("backup", replica, "INFO", "replication")
    for command in (("GET", "kept"), ("SET", "kept", "x"), ("CONFIG", "GET", "*"), ("KEYS", "*"), ("BGSAVE",)):
        assert "NOPERM" in cluster.as_user("backup", PROXY, *command), command


def test_the_exporter_sees_counters_and_neither_keys_nor_passwords(cluster: Cluster) -> None:
    master = host(cluster.the_master())
    assert "used_memory:" in cluster.as_user("exporter", master, "INFO", "ALL")
    assert cluster.as_user("exporter", master, "SLOWLOG", "LEN").isdigit()
    for allowed in (("LATENCY", "LATEST"), ("LATENCY", "HISTOGRAM"), ("CLIENT", "SETNAME", "redis_exporter")):
        assert "NOPERM" not in cluster.as_user("exporter", master, *allowed), allowed
    for denied in (("GET", "probe"), ("SCAN", "0"), ("CONFIG", "GET", "*"), ("SLOWLOG", "GET"), ("PSYNC", "?", "-1")):
        assert "NOPERM" in cluster.as_user("exporter", master, *denied), denied
    assert "quorum" in cluster.as_user("exporter", master, "-p", "26379", "SENTINEL", "MASTERS")
    assert "OK 3 usable" in cluster.as_user("exporter", master, "-p", "26379", "SENTINEL", "CKQUORUM", "gx")
    assert "NOPERM" in cluster.as_user("exporter", master, "-p", "26379", "SENTINEL", "FAILOVER", "gx")


def test_changed_settings_and_passwords_are_applied_without_a_restart(cluster: Cluster) -> None:
    before = cluster.runs()
    assert len(before) == 3
    cluster.configure(max_memory="96Mi")
    cluster.set_passwords(NEW)
    limit = f"maxmemory:{96 * 2**20}"
    cluster.lab.wait(
        "the new limit and password are in force",
        lambda: all(limit in cluster.command(host(each), "INFO", "memory") for each in cluster.members),
    )
    for ordinal in cluster.members:
        cluster.await_says(f"redis-{ordinal}", "redis", "the old password of the sentinels is no longer good")
    cluster.await_replicated()
    assert cluster.runs() == before
    said = "".join(log.read_text() for log in cluster.lab.scratch.glob("*/*.log"))
    assert said
    assert not [password for password in (*OLD.values(), *NEW.values()) if password in said]


def test_the_proxy_follows_to_the_master_that_the_sentinels_elect(cluster: Cluster) -> None:
    master = cluster.the_master()
    assert cluster.command(PROXY, "SET", "kept", "yes") == "OK"
    assert cluster.command(PROXY, "WAIT", "2", "2000") == "2"
    cluster.lab.kill(f"redis-{master}")
    cluster.lab.wait(
        "a write is accepted again",
        lambda: cluster.command(PROXY, "SET", "after", "yes", asker=PROXY) == "OK",
        timeout=60,
    )
    assert cluster.command(PROXY, "GET", "kept", asker=PROXY) == "yes"
    assert cluster.the_master() != master

    cluster.start(master)
    cluster.await_replicated()
    assert cluster.role(master)[0] == "slave"
    assert cluster.command(host(master), "GET", "after") == "yes"


def test_a_master_that_lost_its_volume_never_empties_the_others(cluster: Cluster) -> None:
    """Replicas copy a master's emptiness: one that restarted with no data would erase them all."""
    master = cluster.the_master()
    assert cluster.command(PROXY, "SET", "kept", "still") == "OK"
    assert cluster.command(PROXY, "WAIT", "2", "2000") == "2"

    def others_wait(milliseconds: int) -> None:
        for each in cluster.members:
            words = ("SENTINEL", "SET", "gx", "down-after-milliseconds", str(milliseconds))
            cluster.as_user("sentinel", host(each), "-p", "26379", *words)

    # It has to be back before another one is elected.
    others_wait(60000)
    try:
        cluster.lab.kill(f"redis-{master}")
        data = cluster.lab.scratch / f"data-{master}"
        shutil.rmtree(data / "appendonlydir")
        # A snapshot that is left would not be loaded, so it does not count.
        (data / "dump.rdb").write_bytes(b"REDIS0010")
        cluster.start(master)
        cluster.await_says(f"redis-{master}", "redis", "its volume is empty and a peer has data")
    finally:
        others_wait(DOWN_AFTER_MS)
    cluster.await_replicated()
    assert cluster.role(master)[0] == "slave"
    assert cluster.command(PROXY, "GET", "kept") == "still"


def test_a_master_that_is_terminated_hands_over_first(cluster: Cluster) -> None:
    master = cluster.the_master()
    assert cluster.lab.pods[f"redis-{master}"].terminate("redis", timeout=120) == 0
    cluster.lab.wait("another one is the master", lambda: cluster.master() not in {None, master})
    assert "asked the sentinel of" in cluster.lab.pods[f"redis-{master}"].read("redis")
    cluster.lab.kill(f"redis-{master}")


def test_after_a_restart_of_everything_the_same_data_is_there(cluster: Cluster) -> None:
    assert cluster.command(PROXY, "SET", "kept", "overnight") == "OK"
    cluster.await_written()
    assert cluster.command(PROXY, "WAIT", "2", "2000") == "2"
    for ordinal in cluster.members:
        cluster.lab.kill(f"redis-{ordinal}")
    for ordinal in cluster.members:
        cluster.start(ordinal)
    cluster.await_replicated()
    assert cluster.command(PROXY, "GET", "kept") == "overnight"


def test_transactions_and_scripts_outlive_a_crash_of_the_server(cluster: Cluster) -> None:
    """The server reads its file as the default user, and drops a transaction that this one may not make."""
    master = cluster.the_master()
    pod = cluster.lab.pods[f"redis-{master}"]
    script = "for n = 1, 100 do redis.call('SET', 'together:' .. n, n) end return 'OK'"
    assert cluster.command(PROXY, "EVAL", script, "0") == "OK"
    cluster.await_written()
    assert cluster.command(PROXY, "WAIT", "2", "2000") == "2"
    before = cluster.runs()
    said = cluster.command(host(master), "INFO", "server")
    process = next(line.split(":")[1] for line in said.splitlines() if line.startswith("process_id"))
    assert pod.run("kill", "-9", process.strip()).returncode == 0
    pod.wait("redis", 30)
    pod.start("redis", "sh", "/etc/redis/serve.sh")
    cluster.lab.wait("the server is back", lambda: len(cluster.runs()) == 3 and cluster.runs() != before, timeout=60)
    cluster.await_replicated()
    keys = [f"together:{number}" for number in range(1, 101)]
    for ordinal in cluster.members:
        assert cluster.command(host(ordinal), "EXISTS", *keys) == "100"


def test_a_replica_whose_file_is_damaged_copies_its_master(cluster: Cluster) -> None:
    replica = (cluster.the_master() + 1) % 3
    assert cluster.command(PROXY, "SET", "kept", "intact") == "OK"
    files = cluster.lab.scratch / f"data-{replica}" / "appendonlydir"
    # Two while it is rewritten.
    cluster.lab.wait("there is one file", lambda: len([*files.glob("*.incr.aof")]) == 1)
    cluster.lab.kill(f"redis-{replica}")
    (file,) = files.glob("*.incr.aof")
    file.write_bytes(b"no command\r\n" + file.read_bytes())
    cluster.start(replica)
    cluster.await_says(f"redis-{replica}", "redis", "the append-only file is damaged")
    cluster.await_replicated()
    assert cluster.command(host(replica), "GET", "kept") == "intact"


def test_a_single_instance_serves_alone(lab: Lab) -> None:
    cluster = Cluster(lab, members=1)
    pod = cluster.start(0)
    lab.wait("it accepts a write", lambda: cluster.command(host(0), "SET", "a", "1") == "OK")
    assert cluster.ready(0)
    assert pod.terminate("redis") == 0
    lab.kill("redis-0")
    cluster.start(0)
    lab.wait("the key is still there", lambda: cluster.command(host(0), "GET", "a") == "1")
