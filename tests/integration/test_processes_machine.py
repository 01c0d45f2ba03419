"""Whose processor time is ours while a study runs."""

import subprocess
import sys

from fleet_process import until

from ollama_fleet.bench.processes.machine import _ours_s, watched

BURN = "import time\nwhile time.process_time() < 0.5: pass\n"
FLEET = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", {BURN!r}])
{BURN}
print("burnt", flush=True)
sys.stdin.read()
"""


def test_a_fleets_time_is_its_own_and_that_of_instances_that_have_ended():
    """Half a second each of the fleet and of a child that is no more; of a dead fleet, nothing."""
    before_s = _ours_s(0)
    command = [sys.executable, "-c", FLEET]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as fleet:
        assert fleet.stdout.readline() == b"burnt\n"
        assert _ours_s(fleet.pid) - before_s >= 0.9
        fleet.stdin.close()
        until(lambda: fleet.poll() is not None, what="its end")
    assert _ours_s(fleet.pid) - before_s < 0.9


def test_a_watch_can_be_asked_again_and_never_tells_less_than_nothing():
    foreign_cores = watched(0)
    assert foreign_cores() >= 0
    assert foreign_cores() >= 0
