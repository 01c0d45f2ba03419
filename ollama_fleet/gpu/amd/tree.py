"""Where the kernel and the distribution keep what is to be known of AMD's cards."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

AMD: Final = "0x1002"  # AMD's number as a vendor of PCI devices


def _openable(path: Path) -> bool:
    return os.access(path, os.R_OK | os.W_OK)


@dataclass(frozen=True, slots=True)
class Tree:
    """The folders of the kernel, and the files that name cards, the first of which has the say.

    `may_open` is whether this user may read and write a device node.
    """

    sys: Path = Path("/sys")
    dev: Path = Path("/dev")
    names: tuple[Path, ...] = (
        Path("/usr/share/libdrm/amdgpu.ids"),
        Path("/opt/amdgpu/share/libdrm/amdgpu.ids"),
    )
    may_open: Callable[[Path], bool] = _openable

    @property
    def kfd(self) -> Path:
        """What ROCm's driver in the kernel says of itself."""
        return self.sys / "class" / "kfd" / "kfd"

    @property
    def pci(self) -> Path:
        """The PCI devices, by address."""
        return self.sys / "bus" / "pci" / "devices"

    def render_node(self, minor: int) -> Path:
        """The device node by which programs get at a card."""
        return self.dev / "dri" / f"renderD{minor}"
