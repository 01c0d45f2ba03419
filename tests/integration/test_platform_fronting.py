"""A fleet in front of Ollamas that others run, in a process that lacks what Windows lacks.

Its modules and calls are taken away, and what its loops cannot do is refused. Nothing was run on
Windows.
"""

import json
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from fleet_process import FleetProcess, call, until
from test_sim_server import PROFILE, SimServer
from windows import TAKEN_AWAY

from ollama_fleet.sim.ollama.catalogue import install_profile
from ollama_fleet.sim.ollama.profile import load
from ollama_fleet.sim.ollama.store import Store

pytestmark = pytest.mark.platform

WINDOWS = TAKEN_AWAY + "from ollama_fleet.cli import main; sys.exit(main())"


class FleetOnWindows(FleetProcess):
    def start(self, *arguments):
        return subprocess.Popen(
            [sys.executable, "-c", WINDOWS, *arguments],
            env={**self.environment, "USERNAME": "ann"},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments, check=True, timeout=120):
        started = self.start(*arguments)
        output, errors = started.communicate(timeout=timeout)
        assert not check or started.returncode == 0, errors
        return subprocess.CompletedProcess(arguments, started.returncode, output, errors)

    def status(self):
        return json.loads(self.run("status", "-o", "json").stdout)


@pytest.fixture
def fleet(tmp_path):
    """In front of one simulated Ollama, which has a model."""
    profile = tmp_path / "profile.yaml"
    profile.write_text(PROFILE)
    install_profile(Store(tmp_path / "store"), load(str(profile)))
    with SimServer(tmp_path) as theirs:
        instances = f"[{{ name: desk, url: 'http://127.0.0.1:{theirs.port}' }}]"
        yield FleetOnWindows(tmp_path, config=f"groups: []\ninstances: {instances}\n")


def knock(door, authorization):
    """The status with which the control API answers whoever brings this."""
    headers = {"Authorization": authorization} if authorization else {}
    url = f"http://127.0.0.1:{door['port']}/v1/status"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as ok:
            return ok.status
    except urllib.error.HTTPError as refused:
        return refused.code


def test_on_windows_a_fleet_serves_what_others_run_and_is_asked_by_its_user_alone(fleet):
    told = fleet.folder / "state" / "control.sock"
    running = fleet.start("up", "--no-tui")
    try:
        until(lambda: told.exists() or running.poll() is not None, what="the door")
        assert running.poll() is None, running.communicate()
        until(lambda: fleet.instances()["desk"]["phase"] == "ready", what="an instance")
        answer = call(
            f"{fleet.base}/api/generate", {"model": "a:1b", "prompt": "hi", "stream": False}
        )
        assert answer["done"]
        door = json.loads(told.read_text())
        assert told.stat().st_mode & 0o777 == 0o600
        assert [knock(door, brought) for brought in ("", "Bearer", "Bearer é", "Bearer x")] == [
            401
        ] * 4
        assert knock(door, f"Bearer {door['secret']}") == 200
        until(lambda: fleet.run("history", "-o", "json").stdout != "[]\n", what="its record")
        fleet.run("down")
        assert running.wait(60) == 0
        assert not told.exists()
        assert fleet.run("status", check=False).returncode == 69
    finally:
        running.kill()
        output, errors = running.communicate(timeout=60)
    assert "Traceback" not in output + errors


def test_on_windows_instances_of_its_own_are_refused_with_the_ways_out(tmp_path):
    fleet = FleetOnWindows(tmp_path)
    refused = fleet.run("up", "--no-tui", check=False)
    assert refused.returncode == 1
    assert "no instances can be started on this system" in refused.stderr
    assert "`instances:`" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert fleet.run("status", check=False).returncode == 69
