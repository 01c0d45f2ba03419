"""What a killed fleet left behind, in real processes."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from control_fixtures import PROGRAM, is_alive, number_in, until

from ollama_fleet.bench.ports import free_port
from ollama_fleet.control import orphans
from ollama_fleet.control.orphans import run_record, sweep, write_record
from ollama_fleet.control.ports import find_listener, is_free
from ollama_fleet.control.processes import find_process, send
from ollama_fleet.placement import InstanceSpec

PORT = 11999
MARK = {"OLLAMA_HOST": f"127.0.0.1:{PORT}"}
_SLEEP = (sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)")
_LEAVE = f"import subprocess; print(subprocess.Popen({list(_SLEEP)!r}).pid)"
_LISTEN = """
import socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    print("listening", flush=True)
    server.accept()
"""
SPEC = InstanceSpec(name="gpu0", group="g", host="127.0.0.1", port=PORT, slots=1, store="/s")


@pytest.fixture
def started():
    """Start programs in sessions of their own, as the launcher does; end them after the test."""
    running = []

    def start(argv, environment):
        popen = subprocess.Popen(argv, env=environment, start_new_session=True)
        running.append(popen)
        return popen

    yield start
    for popen in running:
        if popen.poll() is None:
            popen.kill()
        popen.wait()


def leave(folder, pid, started_ticks=None, *, port=PORT):
    """Write the record that a fleet would have left."""
    ticks = find_process(pid).started_ticks if started_ticks is None else started_ticks
    write_record(folder, run_record(replace(SPEC, port=port), pid, ticks, PROGRAM))


def left_behind(environment):
    """A runner whose leader has died and was buried: the leader's pid, the runner's."""
    leader = subprocess.Popen(
        (sys.executable, "-I", "-S", "-c", _LEAVE),
        env=environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    ticks = find_process(leader.pid).started_ticks
    runner = int(leader.stdout.readline())
    leader.stdout.close()
    leader.wait()
    return leader.pid, ticks, runner


def test_an_instance_that_still_runs_is_ended_with_its_runners(tmp_path, started):
    """Also where neither obeys TERM."""

    async def scenario():
        file, port = tmp_path / "runner", free_port()
        mark = {"OLLAMA_HOST": f"127.0.0.1:{port}"}
        leader = started((*PROGRAM, "--ignore-term", "--runner", str(file)), mark)
        runner = await number_in(file)
        leave(tmp_path, leader.pid, port=port)
        lines = await sweep(tmp_path, grace_s=0.1)
        assert not is_alive(leader.pid)
        assert not is_alive(runner)
        assert lines == (f"gpu0: ended pid {leader.pid}, {runner}, left by a killed fleet",)
        assert not list(tmp_path.glob("*.json"))
        await until(lambda: leader.poll() == -signal.SIGKILL)

    asyncio.run(scenario())


def test_who_is_found_late_is_still_asked_to_end_before_it_is_killed(
    tmp_path, started, monkeypatch
):
    """On a busy machine the search alone may take as long as they have to obey."""

    async def scenario():
        told, port = tmp_path / "told", free_port()
        arguments = (*PROGRAM, "--obey-term", "--tell", str(told))
        leader = started(arguments, {"OLLAMA_HOST": f"127.0.0.1:{port}"})
        await until(told.exists, "a program that obeys")
        leave(tmp_path, leader.pid, port=port)
        searches, survey = [], orphans._survey

        def slow(records):
            searches.append(records)
            if len(searches) == 2:
                time.sleep(0.2)
            elif len(searches) == 3:
                leader.wait(20)
            return survey(records)

        monkeypatch.setattr(orphans, "_survey", slow)
        await sweep(tmp_path, grace_s=0.1)
        assert leader.wait(20) == 0

    asyncio.run(scenario())


def test_runners_that_outlived_their_leader_are_ended(tmp_path):
    leader, ticks, runner = left_behind(MARK)
    leave(tmp_path, leader, ticks)
    assert is_alive(runner)
    lines = asyncio.run(sweep(tmp_path, grace_s=5))
    assert lines == (f"gpu0: ended pid {runner}, left by a killed fleet",)
    assert not is_alive(runner)


def test_a_stranger_in_a_group_of_that_number_is_not_touched(tmp_path):
    """It was not started to listen on our port, so it is of a later group with a reused number."""
    leader, ticks, runner = left_behind({"OLLAMA_HOST": f"127.0.0.1:{PORT + 1}"})
    try:
        leave(tmp_path, leader, ticks)
        assert asyncio.run(sweep(tmp_path, grace_s=0)) == ()
        assert is_alive(runner)
        assert not list(tmp_path.glob("*.json"))
    finally:
        os.kill(runner, signal.SIGKILL)


def test_a_pid_that_was_reused_is_not_touched(tmp_path, started):
    stranger = started(_SLEEP, MARK)
    leave(tmp_path, stranger.pid, find_process(stranger.pid).started_ticks - 1)
    assert asyncio.run(sweep(tmp_path, grace_s=0)) == ()
    assert is_alive(stranger.pid)
    assert not list(tmp_path.glob("*.json"))


def test_a_record_of_a_process_that_is_gone_is_dropped(tmp_path, started):
    gone = started((sys.executable, "-I", "-S", "-c", ""), {})
    leave(tmp_path, gone.pid)
    gone.wait()
    assert asyncio.run(sweep(tmp_path, grace_s=0)) == ()
    assert not list(tmp_path.iterdir())


def test_a_record_that_cannot_be_read_is_set_aside_and_told(tmp_path):
    (tmp_path / "gpu0.run.json").write_text("{")
    (line,) = asyncio.run(sweep(tmp_path, grace_s=0))
    assert line.startswith("gpu0.run.json is no run record and was set aside as gpu0.run.bad")
    assert [path.name for path in tmp_path.iterdir()] == ["gpu0.run.bad"]
    assert asyncio.run(sweep(tmp_path, grace_s=0)) == ()


def test_a_directory_that_is_not_there_has_nothing_in_it(tmp_path):
    assert asyncio.run(sweep(tmp_path / "none", grace_s=0)) == ()


def test_a_signal_reaches_the_very_process_or_nobody(started):
    victim = started(_SLEEP, {})
    seen = find_process(victim.pid)
    send(replace(seen, started_ticks=seen.started_ticks - 1), signal.SIGKILL)
    assert victim.poll() is None
    send(seen, signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL
    send(seen, signal.SIGKILL)


def test_the_holder_of_a_port_is_named():
    port = free_port()
    listen = (sys.executable, "-I", "-S", "-c", _LISTEN, str(port))
    with subprocess.Popen(listen, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "listening\n"
        assert not is_free("127.0.0.1", port)
        found = find_listener(port)
        holder.kill()
    assert found.pid == holder.pid
    assert str(found).startswith(f"pid {holder.pid} ({sys.executable} -I -S -c ")
    assert is_free("127.0.0.1", port)
    assert is_free("192.0.2.1", port), "an address of another machine says nothing about ours"
