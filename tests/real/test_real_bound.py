"""What a real Ollama starts stays where the fleet has bound it."""

import os
import sys
from contextlib import suppress
from pathlib import Path

import psutil
from fleet_process import call, until
from real_ollama import served

from ollama_fleet.control import shim

LAST = max(os.sched_getaffinity(0))


def test_the_runner_of_a_bound_ollama_runs_on_its_cpus_and_no_others(box, tmp_path):
    """It finds its threads by the cores of the machine, but asks for no other CPUs."""
    command = [sys.executable, "-I", "-S", shim.__file__, str(os.getpid()), str(LAST), "0"]
    with served([*command, box.ollama, "serve"], tmp_path, box.store) as base:
        call(f"{base}/api/generate", {"model": "tiny", "keep_alive": -1})
        threads = {}
        until(lambda: threads.update(of_runners()) or len(threads) > 1, what="a runner")
    assert set(threads.values()) == {frozenset({LAST})}


def of_runners():
    """The CPUs of each thread of the runners below this process; those that end are left out."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error, OSError):
            if "runner" in process.cmdline()[1:]:
                for task in Path(f"/proc/{process.pid}/task").iterdir():
                    with suppress(OSError):
                        yield int(task.name), frozenset(os.sched_getaffinity(int(task.name)))
