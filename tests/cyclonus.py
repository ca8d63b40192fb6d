"""What cyclonus, a policy engine that is not ours, makes of network policies (https://github.com/mattfenwick/cyclonus).

It knows NetworkPolicy objects as the API has them, pods and addresses, and nothing of nodes, Services or this project.
"""

import itertools
import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from checks.policy_engine import Direction, End, PodPort
from sandbox.toolchain import tool

Cell = tuple[Direction, End, End]
"""A direction of a pod, that pod, and its other end."""
Object = Mapping[str, Any]

_PROTOCOLS = ("TCP", "UDP", "SCTP")
_NOBODYS = 1


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The policies of a whole cluster, and the cells in question."""

    policies: Sequence[Object]
    cells: Sequence[Cell]


def ports_of(numbers: Iterable[int]) -> tuple[PodPort, ...]:
    """These numbers in every protocol, and one that no policy names and that is open only where every port is."""
    return tuple(PodPort(*each) for each in itertools.product(_PROTOCOLS, sorted({*numbers, _NOBODYS})))


def judge(asked: Sequence[Asked], ports: Sequence[PodPort]) -> list[list[frozenset[PodPort]]]:
    """Of these ports the open ones, by cell and set of policies."""
    ends: dict[str, int] = {}
    sets = [
        {
            "policies": list(each.policies),
            "cells": [
                {
                    "ingress": direction is Direction.INGRESS,
                    "own": ends.setdefault(_written(own), len(ends)),
                    "other": ends.setdefault(_written(other), len(ends)),
                }
                for direction, own, other in each.cells
            ],
        }
        for each in asked
    ]
    question = {
        "ends": [json.loads(each) for each in ends],
        "ports": [{"protocol": each.protocol, "number": each.number} for each in ports],
        "sets": sets,
    }
    done = subprocess.run([tool("cyclonus")], input=json.dumps(question), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return [
        [_open(digits[at : at + len(ports)], ports) for at in range(0, len(digits), len(ports))]
        for digits in json.loads(done.stdout)
    ]


def _open(digits: str, ports: Sequence[PodPort]) -> frozenset[PodPort]:
    return frozenset(port for port, digit in zip(ports, digits, strict=True) if digit == "1")


def _written(end: End) -> str:
    addresses = end.pod_addresses if end.address is None else (end.address,)
    return json.dumps({"namespace": end.namespace, "labels": dict(end.labels), "addresses": addresses}, sort_keys=True)
