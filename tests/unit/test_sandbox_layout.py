"""The sandbox's names and addresses."""

import ipaddress
from pathlib import Path

import pytest

from sandbox import layout


def test_two_checkouts_have_different_identifiers_and_one_always_the_same() -> None:
    first, second = layout.Layout(Path("/srv/a")), layout.Layout(Path("/srv/b"))
    assert first.id != second.id
    assert first.id == layout.Layout(Path("/srv/a")).id
    assert first.id.startswith("gx-")
    assert len(first.id) == len("gx-") + 6


def test_no_two_machines_share_an_address_or_a_hardware_address() -> None:
    addresses = [layout.INTERNET_ADDRESS, *layout.CLIENT_ADDRESSES]
    for machine in layout.MACHINES:
        addresses += [machine.address, *machine.public_addresses]
    assert len(addresses) == len(set(addresses))
    assert len({machine.mac for machine in layout.MACHINES}) == len(layout.MACHINES)


def test_every_nodes_pods_are_within_the_cluster_network_and_apart_from_each_other() -> None:
    networks = [ipaddress.IPv4Network(node.pod_cidr) for node in layout.NODES]
    assert all(network.subnet_of(ipaddress.IPv4Network(layout.POD_CIDR)) for network in networks)
    assert len(set(networks)) == len(layout.NODES) == 4


def test_three_nodes_are_control_plane_and_public_and_the_worker_is_neither() -> None:
    by_role = {node.name: (node.control_plane, node.public_address is not None) for node in layout.NODES}
    assert by_role.pop("srv1117946") == (False, False)
    assert set(by_role.values()) == {(True, True)}
    assert "node-role.kubernetes.io/control-plane" not in layout.node("srv1117946").labels


def test_interface_names_fit_the_kernels_fifteen_characters() -> None:
    assert all(len(machine.port) <= 15 for machine in layout.MACHINES)


def test_an_unknown_node_is_refused_with_the_known_names() -> None:
    with pytest.raises(KeyError, match=r"srv9.*srv1089618"):
        layout.node("srv9")
