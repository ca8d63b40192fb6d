"""Made-up hardware: the files from which kubelet (cAdvisor) learns processors and memory.

The formats are those of proc(5) and of Documentation/ABI/stable/sysfs-devices-node in the kernel tree. kubelet writes
the processors it counts into a cpuset, so only real ones may be named; sixteen are made of two by naming them in eight
NUMA nodes, which cAdvisor adds up and the CPU manager does not.
"""

import os
from collections.abc import Sequence
from pathlib import Path


def write(directory: Path, *, cpus: int, memory_gib: int, real_cpus: Sequence[int] | None = None) -> None:
    """Write `meminfo` and `node/` for `cpus` processors and `memory_gib` GiB of memory.

    `real_cpus` are the processors the node may run on; those of this process where not given.
    """
    real = sorted(os.sched_getaffinity(0) if real_cpus is None else real_cpus)
    numa_nodes = [real[: min(len(real), cpus - first)] for first in range(0, cpus, len(real))]
    memory_kib = memory_gib * 1024 * 1024
    every = f"0-{len(numa_nodes) - 1}"
    files = {
        "meminfo": _meminfo(memory_kib),
        **{f"node/{name}": every for name in ("online", "possible", "has_cpu", "has_memory", "has_normal_memory")},
    }
    for number, members in enumerate(numa_nodes):
        here = f"node/node{number}"
        share = memory_kib // len(numa_nodes)
        files[f"{here}/cpulist"] = ",".join(map(str, members))
        files[f"{here}/distance"] = " ".join("10" if other == number else "20" for other in range(len(numa_nodes)))
        files[f"{here}/meminfo"] = f"Node {number} MemTotal: {share} kB\nNode {number} MemFree: {share // 2} kB"
        for cpu in members:
            files |= {
                f"{here}/cpu{cpu}/topology/core_id": str(cpu),
                f"{here}/cpu{cpu}/topology/physical_package_id": str(number),
                f"{here}/cpu{cpu}/topology/thread_siblings_list": str(cpu),
            }
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")


def _meminfo(total_kib: int) -> str:
    half = total_kib // 2
    values = {
        "MemTotal": total_kib,
        "MemFree": half,
        "MemAvailable": half,
        "Buffers": 0,
        "Cached": 0,
        "SwapCached": 0,
        "Active": half,
        "Inactive": 0,
        "SwapTotal": 0,
        "SwapFree": 0,
        "Dirty": 0,
        "Slab": 0,
        "SReclaimable": 0,
        "Shmem": 0,
    }
    return "\n".join(f"{name + ':':<16}{value:>8} kB" for name, value in values.items())
