"""Which processes hold memory of which GPU: KFD's folder of each process that uses ROCm."""

from collections.abc import Collection, Mapping

from ollama_fleet.gpu import sysfs
from ollama_fleet.gpu.amd.tree import Tree

Holders = Mapping[int, Mapping[int, int]]
"""By the GPU's id in KFD: the bytes of each process that holds some, by its pid."""


def read_holders(tree: Tree, gpu_ids: Collection[int]) -> Holders | None:
    """Who holds memory of these GPUs; None where the kernel does not tell (it does since 5.9)."""
    folder = tree.kfd / "proc"
    if not sysfs.exists(folder):
        return None
    held: dict[int, dict[int, int]] = {}
    for name in sysfs.names(folder):
        pid = sysfs.parse_number(name)
        for gpu_id in gpu_ids if pid and pid > 0 else ():
            size_bytes = sysfs.number(folder / name / f"vram_{gpu_id}")
            if pid and size_bytes and size_bytes > 0:
                held.setdefault(gpu_id, {})[pid] = size_bytes
    return held
