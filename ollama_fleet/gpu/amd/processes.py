"""Which processes hold memory of which GPU: KFD's folder of each process that uses ROCm."""

from collections.abc import Mapping
from typing import Final

from ollama_fleet.gpu import sysfs
from ollama_fleet.gpu.amd.tree import Tree

_HELD: Final = "vram_"  # then the GPU's id in KFD: bytes that the process holds of it
Holders = Mapping[int, Mapping[int, int]]
"""By the GPU's id in KFD: the bytes of each process that holds some, by its pid."""


def read_holders(tree: Tree) -> Holders | None:
    """Who holds memory; None where the kernel does not tell (it does since 5.9)."""
    folder = tree.kfd / "proc"
    if not folder.is_dir():
        return None
    held: dict[int, dict[int, int]] = {}
    for name in sysfs.names(folder):
        pid = sysfs.parse_number(name)
        for file in sysfs.names(folder / name) if pid else ():
            gpu_id = sysfs.parse_number(file.removeprefix(_HELD)) if file[:5] == _HELD else None
            size_bytes = sysfs.number(folder / name / file) if gpu_id else None
            if pid and gpu_id and size_bytes and size_bytes > 0:
                held.setdefault(gpu_id, {})[pid] = size_bytes
    return held
