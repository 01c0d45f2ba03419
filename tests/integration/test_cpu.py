"""CPU shares of real processes."""

import os
import subprocess
import sys
import time

from ollama_fleet.control.cpu import CpuMeter

_BUSY = "while True: pass"
_PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_BUSY!r}])"


def test_what_a_server_s_children_use_is_its_own_share_and_an_idle_one_has_none():
    busy = subprocess.Popen([sys.executable, "-c", _PARENT], start_new_session=True)
    idle = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        meter, pids = CpuMeter(cpus=1), {"busy": busy.pid, "idle": idle.pid, "none": 0}
        assert set(meter.read(pids, time.monotonic()).values()) <= {0.0}
        deadline_s, shares = time.monotonic() + 30, {"busy": 0.0, "idle": 0.0}
        while not (shares["busy"] >= 0.05 and shares["idle"] == 0.0):  # it has to start, too
            assert time.monotonic() < deadline_s, shares
            time.sleep(0.05)
            shares = meter.read(pids, time.monotonic())
        assert "none" not in shares
    finally:
        os.killpg(busy.pid, 9)
        idle.kill()
        idle.communicate()
        busy.wait()


def test_a_process_that_has_ended_uses_nothing():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    meter = CpuMeter()
    meter.read({"gone": gone.pid}, 1.0)
    assert meter.read({"gone": gone.pid}, 2.0) == {"gone": 0.0}
