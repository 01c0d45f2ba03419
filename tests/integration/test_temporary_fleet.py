"""The fleet of a demo or a benchmark: whatever becomes of its start, nothing of it stays behind."""

import os
import sys
from pathlib import Path

import pytest

from ollama_fleet.bench.demo.fleet import TemporaryFleet
from ollama_fleet.bench.demo.stage import Stage
from ollama_fleet.control.processes import all_processes, environment_of
from ollama_fleet.errors import FleetError

SLEEPS = "import time; time.sleep(120)"
LEAVES_A_FLEET = f"""import subprocess, sys
subprocess.Popen([sys.executable, "-c", {SLEEPS!r}], start_new_session=True)
sys.exit({{code}})
"""


class NeverUp(TemporaryFleet):
    """Its `fleet up` gives up and leaves a process that has not got so far as to hold a lock."""

    def __init__(self, code):
        super().__init__(Stage("", "4-mixed", {}), os.environ, quiet=True)
        self._code, self.kept = code, ""

    def command(self, *arguments):
        if arguments[0] == "up":
            self.kept = self.directory
            return (sys.executable, "-c", LEAVES_A_FLEET.format(code=self._code))
        return super().command(*arguments)


def living_in(directory):
    return [
        process
        for process in all_processes()
        if process.alive and f"FLEET_STATE_DIR={directory}" in environment_of(process.pid)
    ]


def test_a_fleet_that_has_not_come_up_when_it_is_given_up_does_not_stay():
    fleet = NeverUp(code=124)
    with pytest.raises(FleetError), fleet:
        pass
    assert len(fleet.left) == 1
    assert living_in(fleet.kept) == []
    assert not Path(fleet.kept).exists()
