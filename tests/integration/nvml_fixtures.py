"""A stand-in for NVIDIA's driver, whose cards and troubles are of the test's making."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_DEADLINE_S = 20.0
_STANDIN = Path(__file__).with_name("nvml_standin")


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler (cc, gcc or clang) to build the NVML stand-in with")
    folder = tmp_path_factory.mktemp("nvml")
    target = folder / "libnvidia-ml.so.1"
    sources = sorted(_STANDIN.glob("*.c"))
    subprocess.run(
        [compiler, "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", target, *sources],
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


_PROBE = """
import asyncio, json, sys, threading, time
from dataclasses import asdict
from pathlib import Path
from ollama_fleet.gpu.discover import GpuReader
from ollama_fleet.gpu.nvml import NvmlGpus

async def main():
    reader = GpuReader([NvmlGpus(Path(sys.argv[1]))], time.monotonic)
    for line in sys.stdin:
        question, timeout_s = line.split()
        began_s = time.monotonic()
        answer = asdict(await getattr(reader, question)(float(timeout_s)))
        answer |= {"took_s": time.monotonic() - began_s, "threads": threading.active_count()}
        print(json.dumps(answer, default=lambda enum: enum.value), flush=True)
    reader.close()

asyncio.run(main())
"""


class Machine:
    """A program that asks the reader what it is told to, on a machine of the test's making."""

    def __init__(self, folder: Path, library: Path) -> None:
        self._driver = Driver(folder)
        self._sysfs = sysfs = folder / "sysfs"
        for card, node, cpus in ((0, "1\n", ""), (1, "-1\n", "0-15\n"), (2, "", "8-9,12\n")):
            device = sysfs / f"0000:{0x3B + card:02x}:00.0"
            device.mkdir(parents=True)
            (device / "numa_node").write_text(node)
            (device / "local_cpulist").write_text(cpus)
        self.becomes = self._driver.becomes
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PROBE, sysfs],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | self._driver.environment(library),
        )

    def place(self, card: int, under: str, node: int) -> None:
        """Have the kernel list a card at a place on the PCI buses."""
        address = f"0000:{0x3B + card:02x}:00.0"
        device = self._sysfs.parent / "devices" / under / address
        device.mkdir(parents=True)
        (device / "numa_node").write_text(f"{node}\n")
        shutil.rmtree(self._sysfs / address)
        (self._sysfs / address).symlink_to(device)

    def ask(self, question: str, timeout_s: float = _DEADLINE_S) -> dict:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{question} {timeout_s}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            return self.process.wait(_DEADLINE_S)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()


def uuid(card: int) -> str:
    return f"GPU-00000000-0000-0000-0000-{card:012}"


def slice_uuid(card: int, gpu_instance: int, compute_instance: int = 0) -> str:
    return f"MIG-00000000-0000-{gpu_instance:04}-{compute_instance:04}-{card:012}"
