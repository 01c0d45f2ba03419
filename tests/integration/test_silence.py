"""Probes without an answer, of real processes that work and that do not; time is told."""

import asyncio
import subprocess
import sys
import time
from contextlib import contextmanager
from types import SimpleNamespace

import psutil

from ollama_fleet.control.supervisor.silence import Silence, work_of

IDLES = "import time; print(flush=True); time.sleep(600)"
WORKS = "print(flush=True)\nwhile True: pass"


@contextmanager
def instance(program):
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", program],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        child.stdout.readline()
        yield SimpleNamespace(name="a", pid=child.pid)
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def has_worked(pid, cpu_s):
    before_s, end_s = psutil.Process(pid).cpu_times().user, time.monotonic() + 20
    while psutil.Process(pid).cpu_times().user < before_s + cpu_s:
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_each_probe_without_an_answer_counts_of_a_process_that_does_nothing():
    async def check():
        with instance(IDLES) as it:
            silence = Silence(work_of(it))
            for now_s in (0.0, 1.0, 2.0):
                await silence.goes_on(now_s)
            assert (silence.probes, silence.weight) == (3, 3)
            silence.broken()
            assert (silence.probes, silence.weight) == (0, 0)

    asyncio.run(check())


def test_one_that_works_is_given_several_times_as_many():
    """A box that swaps, or cuts up long prompts on all of its CPUs, answers late."""

    async def check():
        with instance(WORKS) as it:
            silence = Silence(work_of(it))
            for now_s in (0.0, 1.0, 2.0):
                await silence.goes_on(now_s)
                await asyncio.to_thread(has_worked, it.pid, 0.2)
            assert silence.probes == 3
            assert 1.3 < silence.weight < 1.5, "nothing is known of the time before the first"

    asyncio.run(check())
