"""Commands that need no running fleet, in a process that lacks what Windows lacks.

Its modules and calls are taken away, the lock of Windows is played. Nothing was run on Windows.
"""

import json
import os
import subprocess
import sys

import pytest
from windows import TAKEN_AWAY

pytestmark = pytest.mark.platform

WINDOWS = (
    TAKEN_AWAY
    + """
from contextlib import redirect_stderr, redirect_stdout
from ollama_fleet.cli import run

told = []
for arguments in json.loads(sys.argv[1]):
    with redirect_stdout(io.StringIO()) as output, redirect_stderr(io.StringIO()) as errors:
        code = run(arguments)
    told.append([code, output.getvalue(), errors.getvalue(), len(locked)])
print(json.dumps(told))
"""
)


COMMANDS = (
    (("init", "--service", "leave"), 1),
    (("init", "--yes"), 0),
    (("config", "check"), 0),
    (("plan",), 0),
    (("keys", "add", "ann"), 0),
    (("status",), 69),
    (("doctor",), None),  # as the Ollamas of this machine are
)


def test_what_needs_no_running_fleet_works_on_windows_and_what_needs_one_is_refused(tmp_path):
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "USERNAME": "ann",
        "FLEET_STATE_DIR": str(tmp_path / "state"),
    }
    ran = subprocess.run(
        [sys.executable, "-c", WINDOWS, json.dumps([command for command, _ in COMMANDS])],
        env=environment,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    told = dict(zip((command for command, _ in COMMANDS), json.loads(ran.stdout), strict=True))
    for command, code in COMMANDS:
        assert code is None or told[command][0] == code, (command, told[command])
        assert "Traceback" not in told[command][2]
    text = (tmp_path / "fleet.yaml").read_text()
    assert "\ngroups: []" in text, "instances of its own would be refused"
    assert "\ninstances:" in text
    assert "--service front" in told["init", "--service", "leave"][2]
    assert '"ann"' in (tmp_path / "state" / "keys.json").read_text()
    locks = told["keys", "add", "ann"][3] - told["plan",][3]
    assert locks == 1, "the file is changed under the lock of Windows"
    assert "no instances can be started" in told["doctor",][1]
