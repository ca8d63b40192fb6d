"""Made-up hardware: the files from which kubelet (cAdvisor) learns processors and memory.

The formats are those of proc(5) and of Documentation/ABI/stable/sysfs-devices-{node,system-cpu} in the kernel tree.
"""

from pathlib import Path


def write(directory: Path, *, cpus: int, memory_gib: int) -> None:
    """Write `meminfo`, `cpu/` and `node/` for one socket with `cpus` cores and `memory_gib` GiB of memory."""
    memory_kib = memory_gib * 1024 * 1024
    every = f"0-{cpus - 1}"
    files = {
        "meminfo": _meminfo(memory_kib),
        **{f"cpu/{name}": every for name in ("online", "present", "possible")},
        "cpu/offline": "",
        "cpu/kernel_max": str(cpus - 1),
        **{f"node/{name}": "0" for name in ("online", "possible", "has_cpu", "has_memory", "has_normal_memory")},
        "node/node0/cpulist": every,
        "node/node0/distance": "10",
        "node/node0/meminfo": f"Node 0 MemTotal: {memory_kib} kB\nNode 0 MemFree: {memory_kib // 2} kB",
    }
    for cpu in range(cpus):
        topology = {
            "core_id": str(cpu),
            "physical_package_id": "0",
            "die_id": "0",
            "thread_siblings_list": str(cpu),
            "core_siblings_list": every,
        }
        files |= {f"cpu/cpu{cpu}/topology/{name}": value for name, value in topology.items()}
        files |= {f"node/node0/cpu{cpu}/topology/{name}": value for name, value in topology.items()}
        if cpu:
            files[f"cpu/cpu{cpu}/online"] = "1"
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
    return "\n".join(f"{name + ':':<16}{value:>9} kB" for name, value in values.items())
