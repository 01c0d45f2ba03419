"""What an Ollama brings with it for AMD's cards: its ROCm libraries, and the chips they are for."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ollama_fleet.doctor.facts import RocmFacts

_KERNELS: Final = "rocblas/library"
_LAZY: Final = "TensileLibrary_lazy_"  # then the chip: a file for each that rocBLAS supports


def rocm_of(binary: str) -> RocmFacts:
    """What stands beside a binary of Ollama, in the folders where it looks itself.

    These are `lib/ollama` beside the folder of the binary, or in it (ml/path.go of Ollama's
    source). A binary that is a script of somebody's has neither.
    """
    for folder in _folders(binary):
        if folder.is_dir():
            backends = sorted(path for path in folder.glob("rocm*") if path.is_dir())
            return RocmFacts(
                folder=str(folder),
                backends=tuple(path.name for path in backends),
                targets=frozenset(target for path in backends for target in _targets(path)),
            )
    return RocmFacts()


def _folders(binary: str) -> Iterator[Path]:
    if binary:
        try:
            home = Path(binary).resolve().parent
        except (OSError, RuntimeError):
            return
        yield home.parent / "lib" / "ollama"
        yield home / "lib" / "ollama"
        yield home / "build" / "lib" / "ollama"


def _targets(backend: Path) -> Iterator[str]:
    for path in (backend / _KERNELS).glob(f"{_LAZY}gfx*.dat"):
        yield path.stem.removeprefix(_LAZY)
