import os
import sys

from virtual_time import now, run

from ollama_fleet.control.supervisor.vram import (
    FREED_WITHIN_S,
    command_of,
    describe,
    no_reading,
    until_freed,
)
from ollama_fleet.gpu import GpuReading, GpuSample


def readings(*samples):
    """A driver that gives these samples in turn, the last one for ever."""
    left = list(samples)

    async def read():
        sample = left.pop(0) if len(left) > 1 else left[0]
        return GpuSample(tuple(GpuReading(uuid, pids=pids) for uuid, pids in sample.items()))

    return read


ON_A = frozenset("a")


def test_it_waits_until_the_driver_has_let_go_of_the_dead():
    async def check():
        read = readings({"a": (7, 8)}, {"a": (8,)}, {"a": ()})
        assert await until_freed(frozenset({7, 8}), ON_A, read) == ()
        assert 0 < now() < FREED_WITHIN_S

    run(check())


def test_who_holds_on_for_too_long_is_named():
    async def check():
        pids = frozenset({7, 9})
        assert await until_freed(pids, ON_A, readings({"a": (9, 7, 5)})) == (7, 9)
        assert now() >= FREED_WITHIN_S

    run(check())


def test_strangers_and_other_gpus_are_not_waited_for():
    async def check():
        pids = frozenset({7})
        assert await until_freed(pids, ON_A, readings({"a": (8,)})) == ()
        assert await until_freed(pids, ON_A, readings({"b": (7,)})) == ()
        assert await until_freed(pids, ON_A, no_reading) == ()
        assert now() == 0

    run(check())


def test_who_holds_memory_is_told_by_pid_command_and_whether_it_runs():
    me, gone = os.getpid(), 2**22 + 1  # a pid beyond the kernel's largest
    assert sys.executable in command_of(me) or "pytest" in command_of(me)
    assert command_of(me).isprintable()
    assert command_of(gone) == ""
    told = describe((gone, me), {gone: "ollama runner --port 1", me: "ollama serve"})
    assert told == (
        f"by pid {gone} (ollama runner --port 1), which has ended; "
        f"by pid {me} (ollama serve), which runs still"
    )
    assert "command unknown" in describe((gone,), {})
