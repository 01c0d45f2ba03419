"""The GPU of an Apple chip: Ollama uses it by itself, through Metal; nothing chooses or reads it.

It is no GPU of an inventory: there is one, it has the machine's memory, and one instance has it.
"""

import platform
from typing import Final

from ollama_fleet.gpu import GpuSample, Inventory

METAL: Final = "Metal"
_APPLE_CHIP: Final = "ARM64"  # in the kernel's version; the machine is x86_64 to Python in Rosetta


class MetalGpu:
    """The GPU of a Mac, as far as there is anything to know of it."""

    def inventory(self) -> Inventory:
        """No GPU to choose; `own_gpu` is Metal on Apple's chips. Others have the CPU alone."""
        if _APPLE_CHIP in platform.version():
            return Inventory(own_gpu=METAL)
        note = "on a Mac without an Apple chip Ollama uses the CPU"
        return Inventory(notes=(note,), remarks=(note,))

    def read(self) -> GpuSample:
        """Nothing: only administrators are told by macOS."""
        return GpuSample()

    def close(self) -> None:
        """Nothing is held."""
