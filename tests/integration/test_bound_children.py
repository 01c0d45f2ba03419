"""Children that are bound to CPUs and memory, as the kernel tells of them."""

import asyncio
import ctypes
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from control_fixtures import DEADLINE_S, launcher

from ollama_fleet.control import shim
from ollama_fleet.control.launcher import LocalLauncher
from ollama_fleet.control.logs import ChildLogs
from ollama_fleet.numa import parse_list

CPUS = sorted(os.sched_getaffinity(0))
STATUS = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
NODE = parse_list(STATUS.get("Mems_allowed_list", "0"))[0]
NO_CPU, NO_NODE = 2**15 - 1, 1023  # no machine has as many
DEFAULT, PREFERRED, INTERLEAVED = 0, 1, 3

# What a process is bound to, and one that it starts.
LOOK = """
import ctypes, json, os, platform, subprocess, sys
get = {"x86_64": 239, "aarch64": 236}.get(platform.machine(), -1)
mode, mask = ctypes.c_int(-1), (ctypes.c_ulong * 16)()
ctypes.CDLL(None).syscall(get, ctypes.byref(mode), mask, ctypes.c_ulong(1024), None, None)
print(json.dumps([sorted(os.sched_getaffinity(0)), mode.value, mask[0]]), flush=True)
if len(sys.argv) == 2:
    subprocess.run([sys.executable, "-I", "-S", sys.argv[1]], check=True)
"""

# Forbids what it is told by number, as Docker forbids set_mempolicy, and becomes another program.
FORBID = """
import ctypes, os, struct, sys
number, argv = int(sys.argv[1]), sys.argv[2:]
load, equal, answer, refused, allowed = 0x20, 0x15, 0x06, 0x00050001, 0x7FFF0000
lines = [(load, 0, 0, 0), (equal, 0, 1, number), (answer, 0, 0, refused), (answer, 0, 0, allowed)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in lines))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 4, ctypes.addressof(code)))
libc = ctypes.CDLL(None)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0):
    sys.exit(3)
os.execv(argv[0], argv)
"""

# Gives itself a policy, as numactl does, and becomes another program.
INTERLEAVE = """
import ctypes, os, sys
number, node, argv = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
mask = (ctypes.c_ulong * 16)(1 << node)
if ctypes.CDLL(None).syscall(number, 3, mask, ctypes.c_ulong(1025)):
    sys.exit(3)
os.execv(argv[0], argv)
"""


def number(name):
    """Of a system call that has to do with memory policies; skips where there is none."""
    numbers = shim._MEMPOLICY.get(platform.machine())
    if numbers is None:
        pytest.skip("the numbers of the system calls are not known for this kind of machine")
    return numbers[("get", "set").index(name)]


def require_policies():
    """Skip where this process could not have one: in most containers."""
    libc, none = ctypes.CDLL(None), ctypes.c_ulong(0)
    if libc.syscall(number("get"), None, None, none, None, None) or libc.syscall(
        number("set"), DEFAULT, None, none
    ):
        pytest.skip("memory policies are forbidden here, or this kernel has none")


def program(folder):
    """Says what it is bound to, and then a child of its own does."""
    file = folder / "look.py"
    file.write_text(LOOK)
    return (sys.executable, "-I", "-S", str(file), str(file))


def ran(folder, **bound):
    """What a bound child and its own child say; what the fleet has written before, if anything."""

    async def scenario():
        async with launcher(folder) as start:
            return await said(start.start("i", program(folder), {}, **bound))

    lines = asyncio.run(scenario())
    return [json.loads(line) for line in lines[-2:]], lines[:-2]


async def said(child):
    """All that is in its log behind the first line, once it and its child have said theirs."""
    assert await child.wait() == 0
    await child.stop(5)
    async with asyncio.timeout(DEADLINE_S):
        while True:
            lines = await child.tail(10)
            if sum(line.startswith("[[") for line in lines) == 2:
                return lines[1:]
            await asyncio.sleep(0.01)


def shim_after(folder, before, *arguments):
    """Run the shim in a process that something else was done to."""
    first = [sys.executable, "-I", "-S", "-c", before, *arguments]
    then = [sys.executable, "-I", "-S", shim.__file__, str(os.getpid()), str(CPUS[-1]), str(NODE)]
    done = subprocess.run(
        [*first, *then, *program(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode == 3:
        pytest.skip("this machine does not let it be done")
    assert done.returncode == 0
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr.splitlines()


def test_a_child_and_all_that_it_starts_run_on_the_cpus_they_were_given(tmp_path):
    for cpus in {tuple(CPUS[-1:]), tuple(CPUS[:1]), tuple(CPUS)}:
        found, before = ran(tmp_path, cpus=cpus)
        assert [of for of, _, _ in found] == [list(cpus)] * 2
        assert before == ()


def test_a_child_and_all_that_it_starts_take_their_memory_from_the_node_they_were_given(tmp_path):
    """While there is some: what is preferred is no bound, so that nothing is killed for it."""
    require_policies()
    found, before = ran(tmp_path, memory_nodes=(NODE,))
    assert [(mode, mask) for _, mode, mask in found] == [(PREFERRED, 1 << NODE)] * 2
    assert before == ()


def test_a_child_that_nothing_was_said_of_is_bound_to_nothing(tmp_path):
    found, before = ran(tmp_path)
    assert [of for of, _, _ in found] == [CPUS] * 2
    assert all(mode in {DEFAULT, -1} for _, mode, _ in found)
    assert before == ()


def test_what_the_machine_does_not_have_costs_a_line_in_the_log(tmp_path):
    """As where CPUs were taken away since the fleet looked; the child runs where it can."""
    require_policies()
    found, before = ran(tmp_path, cpus=(NO_CPU,), memory_nodes=(NO_NODE,))
    assert found == [[CPUS, DEFAULT, 0]] * 2
    assert [line.partition(":")[0] for line in before] == [
        f"[fleet] not bound to CPUs {NO_CPU}",
        f"[fleet] not bound to memory of node {NO_NODE}",
    ]


@pytest.mark.parametrize("name", ["get", "set"])
def test_a_container_that_forbids_policies_costs_a_line_in_the_log(name, tmp_path):
    """Docker does without CAP_SYS_NICE; the CPUs are bound even so."""
    require_policies()
    found, before = shim_after(tmp_path, FORBID, str(number(name)))
    assert [of for of, _, _ in found] == [CPUS[-1:]] * 2
    (line,) = before
    assert line.startswith(f"[fleet] not bound to memory of node {NODE}: ")
    assert os.strerror(1) in line


def test_the_policy_that_an_operator_gave_the_whole_fleet_stays(tmp_path):
    """As by numactl."""
    require_policies()
    found, before = shim_after(tmp_path, INTERLEAVE, str(number("set")), str(NODE))
    assert [mode for _, mode, _ in found] == [INTERLEAVED] * 2
    assert before == []


def test_a_simulated_fleet_binds_nothing(tmp_path):
    """Its CPUs are those of another machine."""

    async def scenario():
        logs = ChildLogs(tmp_path / "logs", 2**20, 1)
        try:
            starts = LocalLauncher(logs, binds=False)
            child = starts.start("i", program(tmp_path), {}, cpus=(CPUS[-1],), memory_nodes=(1,))
            return await said(child)
        finally:
            logs.close()

    assert [json.loads(line)[0] for line in asyncio.run(scenario())] == [CPUS] * 2
