"""`fleet` on the AMD cards of a tree of files.

To be called as `python amd_program.py ROOT ARGUMENTS`, with those of `fleet`. All is as in the
program itself, but for where the kernel's files are looked for. Where there is a stand-in for
NVIDIA's driver, the machine has its cards, too.
"""

import os
import sys
from pathlib import Path

from amd_trees import tree_at

from ollama_fleet.gpu import discover
from ollama_fleet.gpu.amd import AmdGpus
from ollama_fleet.gpu.nvml import NvmlGpus

if __name__ == "__main__":
    root = Path(sys.argv[1])
    tree = tree_at(root)
    nvidia = (NvmlGpus(tree.pci),) if "NVML_STANDIN" in os.environ else ()
    discover.sources = lambda: (*nvidia, AmdGpus(tree))  # whatever cards this machine has
    from ollama_fleet.cli import run  # takes what `sources` is by then

    sys.exit(run(sys.argv[2:]))
