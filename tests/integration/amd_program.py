"""`fleet` on the AMD cards of a tree of files.

To be called as `python amd_program.py ROOT ARGUMENTS`, with those of `fleet`. All is as in the
program itself, but for where the kernel's files are looked for.
"""

import sys
from pathlib import Path

from amd_trees import tree_at

from ollama_fleet.gpu import discover
from ollama_fleet.gpu.amd import AmdGpus

if __name__ == "__main__":
    root = Path(sys.argv[1])
    discover.sources = lambda: (AmdGpus(tree_at(root)),)  # whatever cards this machine has
    from ollama_fleet.cli import run  # takes what `sources` is by then

    sys.exit(run(sys.argv[2:]))
