"""What the sandbox's cluster is made of, without starting it."""

from pathlib import Path

import pytest

from sandbox import layout as where
from sandbox.cluster import cgroups, fabric, hardware


@pytest.mark.parametrize("real", [[0], [0, 1], [0, 2, 3], list(range(32))])
def test_sixteen_processors_are_made_of_however_many_the_host_has_and_no_other_is_named(
    tmp_path: Path, real: list[int]
) -> None:
    hardware.write(tmp_path, cpus=16, memory_gib=64, real_cpus=real)
    processors = [int(path.name.removeprefix("cpu")) for path in tmp_path.glob("node/node*/cpu[0-9]*")]
    assert len(processors) == 16
    assert set(processors) <= set(real)


def test_memory_is_what_was_asked_for_in_the_kernels_format(tmp_path: Path) -> None:
    hardware.write(tmp_path, cpus=16, memory_gib=64, real_cpus=[0, 1])
    assert "MemTotal:       67108864 kB\n" in (tmp_path / "meminfo").read_text()


def test_on_cgroup_v1_a_group_exists_in_every_hierarchy_and_has_the_parents_processors(tmp_path: Path) -> None:
    for hierarchy in ("cpuset", "memory", "systemd"):
        (tmp_path / hierarchy).mkdir()
    for name in ("cpuset.cpus", "cpuset.mems"):
        (tmp_path / "cpuset" / name).write_text("0-1\n")
        for group in ("gx-1", "gx-1/n"):
            (tmp_path / "cpuset" / group).mkdir(parents=True, exist_ok=True)
            (tmp_path / "cpuset" / group / name).write_text("\n")
    cgroups.create("/gx-1/n", tmp_path)
    assert all((tmp_path / hierarchy / "gx-1/n").is_dir() for hierarchy in ("cpuset", "memory", "systemd"))
    assert (tmp_path / "cpuset/gx-1/n/cpuset.cpus").read_text() == "0-1\n"


def test_on_cgroup_v2_a_group_may_hand_every_controller_on(tmp_path: Path) -> None:
    for group in ("", "gx-1", "gx-1/n"):
        (tmp_path / group).mkdir(exist_ok=True)
        (tmp_path / group / "cgroup.controllers").write_text("cpu memory pids\n")
    cgroups.create("/gx-1/n", tmp_path)
    for group in ("", "gx-1", "gx-1/n"):
        assert (tmp_path / group / "cgroup.subtree_control").exists()


@pytest.mark.parametrize(("version", "name"), [("cpu", "cpu.shares"), ("", "cpu.weight")])
def test_the_containers_of_all_nodes_weigh_more_than_one_thread_beside_them(
    tmp_path: Path, version: str, name: str
) -> None:
    hierarchy = tmp_path / version
    for group in ("", "gx-1", "gx-1/n"):
        (hierarchy / group).mkdir(parents=True, exist_ok=True)
        (hierarchy / group / name).write_text("1\n")
        if not version:
            (hierarchy / group / "cgroup.controllers").write_text("cpu\n")
    cgroups.create("/gx-1/n", tmp_path)
    weights = [int((hierarchy / group / name).read_text()) for group in ("", "gx-1", "gx-1/n")]
    assert weights[1] > weights[0] == weights[2]


def test_a_group_is_removed_with_everything_below_it(tmp_path: Path) -> None:
    (tmp_path / "memory/gx-1/n/kubepods/pod1").mkdir(parents=True)
    cgroups.remove("/gx-1", tmp_path)
    assert list((tmp_path / "memory").iterdir()) == []


def test_fabric_asks_for_the_load_the_source_document_states() -> None:
    for tenancy in fabric.TENANCIES:
        cpu, memory = fabric.requests(tenancy)
        assert cpu * len(tenancy.pods) == pytest.approx(160 * tenancy.load_percent, abs=len(tenancy.pods))
        share = where.NODE_MEMORY_GIB * 1024 * tenancy.load_percent / 100
        assert memory * len(tenancy.pods) == pytest.approx(share, abs=len(tenancy.pods))


def test_every_fabric_name_the_backend_is_given_is_a_service() -> None:
    services = {
        f"{item['metadata']['name']}.{item['metadata']['namespace']}:{item['spec']['ports'][0]['port']}"  # type: ignore[index]
        for item in fabric.objects()
        if item["kind"] == "Service"
    }
    orderers = {f"orderer{number}-org0.fabric:7050" for number in range(5)}
    peers = {f"peer{peer}-org{org}.fabric:7051" for peer in (0, 1) for org in (1, 2)}
    authorities = {f"ca-org{org}.fabric:7054" for org in (1, 2)}
    testnet = {
        f"{name}-org{org}.fabric-testnet:{port}" for name, org, port in (("orderer0", 0, 7050), ("peer0", 1, 7051))
    }
    assert orderers | peers | authorities | testnet <= services
