"""A fleet whose own process lacks what macOS lacks: it serves, is asked and stopped, and logs.

Its calls are taken away; the instances are simulated Ollamas on this system. Nothing was run on
macOS.
"""

import json
import subprocess
import sys

import psutil
import pytest
from fleet_process import FleetProcess, call, until

pytestmark = pytest.mark.platform

MAC = """
import os, platform, select, signal, socket, sys
import asyncio, psutil, sysconfig, zoneinfo, aiohttp.web, pydantic.fields, pynvml, yaml

sysconfig.get_config_vars()

sys.modules["uvloop"] = None
for module, names in (
    (os, "pidfd_open pipe2 waitid posix_fadvise sched_getaffinity sched_setaffinity"),
    (signal, "pidfd_send_signal"),
    (socket, "TCP_USER_TIMEOUT TCP_INFO"),
):
    for name in names.split():
        vars(module).pop(name, None)
del psutil.Process.io_counters
opened, scanned, exists, told = os.open, os.scandir, os.path.exists, os.stat

def missing(path, *_, **__):
    raise FileNotFoundError(2, "No such file or directory", str(path))

def is_proc(path):
    return str(path).startswith(("/proc/", "/sys/"))

os.open = lambda path, *a, **k: (missing if is_proc(path) else opened)(path, *a, **k)
os.scandir = lambda path=".": (missing if is_proc(path) else scanned)(path)
os.stat = lambda path, *a, **k: (missing if is_proc(path) else told)(path, *a, **k)
os.path.exists = lambda path: not is_proc(path) and exists(path)
platform.version = lambda: "Darwin Kernel Version 24.0.0; root:xnu-11215/RELEASE_ARM64_T6031"
sys.platform = "darwin"
from ollama_fleet.cli import main
sys.exit(main())
"""


class FleetOnMac(FleetProcess):
    def start(self, *arguments):
        return subprocess.Popen(
            [sys.executable, "-c", MAC, *arguments],
            env=self.environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def test_a_fleet_serves_restarts_and_ends_without_what_linux_alone_has(tmp_path):
    fleet = FleetOnMac(tmp_path)
    running = fleet.start("up", "--no-tui", "--simulate", "2x24GB")
    try:
        until(lambda: _ready(fleet, running), what="two instances that are ready")
        seen = fleet.instances()
        processes = {psutil.Process(i["pid"]) for i in seen.values()}
        answer = call(f"{fleet.base}/api/version")
        assert answer["version"]
        victim = next(iter(seen.values()))
        psutil.Process(victim["pid"]).kill()
        until(
            lambda: fleet.instances()[victim["name"]]["pid"] not in {0, victim["pid"]},
            what="another process for the one that was killed",
        )
        processes |= {psutil.Process(i["pid"]) for i in fleet.instances().values()}
        assert fleet.run("logs", "--tail", "5").stdout
        assert fleet.run("down").returncode == 0
        assert running.wait(60) == 0
        assert not any(process.is_running() for process in processes)
    finally:
        running.terminate()
        output, errors = running.communicate(timeout=60)
    assert "Traceback" not in output + errors


def _ready(fleet, running):
    assert running.poll() is None, running.communicate()
    try:
        instances = fleet.instances()
    except Exception:  # noqa: BLE001 - it is not there yet, in whatever words
        return False
    return len(instances) == 2 and all(i["phase"] == "ready" for i in instances.values())


def test_a_plan_for_a_mac_is_one_instance_on_metal(tmp_path):
    planning = FleetOnMac(tmp_path).start("plan", "-o", "json")
    output, errors = planning.communicate(timeout=60)
    assert planning.returncode == 0, errors
    plan = json.loads(output)
    assert len(plan["instances"]) == 1
    assert "Metal" in output
    assert "Traceback" not in errors


def test_the_doctor_of_a_mac_names_metal_and_says_what_is_less_there(tmp_path):
    fleet = FleetOnMac(tmp_path)
    (tmp_path / "fleet.yaml").write_text("instances: [{ name: a, url: 'http://127.0.0.1:1' }]\n")
    looking = fleet.start("doctor", "-o", "json")
    output, errors = looking.communicate(timeout=150)
    assert "Traceback" not in errors
    found = {check["name"]: check for check in json.loads(output)["checks"]}
    assert "Metal" in found["gpus"]["detail"]
    assert found["platform"]["status"] == "warn"
    for words in ("parent-death signal", "/proc", "pidfds", "memory nodes", "vanished"):
        assert words in found["platform"]["detail"]
