"""A stand-in for NVIDIA's driver, whose cards and troubles are of the test's making."""

import shutil
import subprocess
from pathlib import Path

import pytest

_STANDIN = Path(__file__).with_name("nvml_standin.c")


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler (cc, gcc or clang) to build the NVML stand-in with")
    folder = tmp_path_factory.mktemp("nvml")
    target = folder / "libnvidia-ml.so.1"
    subprocess.run(
        [compiler, "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", target, _STANDIN],
        check=True,
    )
    return folder


class Driver:
    """What the stand-in answers, from now on, in whichever program has it loaded."""

    def __init__(self, folder: Path) -> None:
        self._state = folder / "nvml"
        self.becomes()

    def environment(self, library: Path) -> dict[str, str]:
        """With what a program finds the stand-in instead of a driver."""
        return {"LD_LIBRARY_PATH": str(library), "NVML_STANDIN": str(self._state)}

    def becomes(self, *rules: str, cards: int = 3) -> None:
        draft = self._state.with_suffix(".draft")
        draft.write_text("\n".join([f"cards {cards}", *rules, ""]))
        draft.replace(self._state)
