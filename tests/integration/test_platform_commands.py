"""Commands that need no running fleet, in a process that lacks what Windows lacks.

Its modules and calls are taken away, the lock of Windows is played. Nothing was run on Windows.
"""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.platform

WINDOWS = """
import functools, io, json, os, platform, select, shutil, signal, socket, sys, types
import asyncio, ctypes, psutil, sysconfig, zoneinfo, subprocess, tempfile, multiprocessing
import click.testing, pydantic.fields, pynvml, rich.console, yaml, aiohttp.web, textual.app

from contextlib import redirect_stderr, redirect_stdout

sysconfig.get_config_vars()
shutil.disk_usage = lambda path: shutil._ntuple_diskusage(2**40, 0, 2**40)  # asks statvfs here
# The loop of this system is what there is; it wants a pair of sockets of its own kind.
socket.socketpair = functools.partial(socket.socketpair, socket.AF_UNIX)
for name in ("uvloop", "fcntl", "pwd", "grp", "resource", "termios", "tty", "pty"):
    sys.modules[name] = None
for module, names in (
    (os, "O_CLOEXEC O_NOFOLLOW O_DIRECTORY O_NONBLOCK pread pwrite getuid geteuid getgid chown"
         " fchown fchmod killpg getpgid getsid setsid statvfs fstatvfs setpriority sendfile"
         " set_blocking fork uname sched_getaffinity sched_setaffinity waitid pipe2 pidfd_open"),
    (signal, "SIGKILL SIGHUP SIGCONT SIGUSR1 pidfd_send_signal"),
    (select, "poll"),
    (socket, "AF_UNIX TCP_USER_TIMEOUT TCP_INFO"),
):
    for name in names.split():
        vars(module).pop(name, None)
locked = []
kernel = types.SimpleNamespace(LockFileEx=lambda *how: locked.append(how) or 1)
ctypes.WinDLL = lambda *_, **__: kernel
ctypes.get_last_error = lambda: 0
sys.modules["msvcrt"] = types.SimpleNamespace(get_osfhandle=lambda descriptor: descriptor)
sys.platform = "win32"
from ollama_fleet.cli import run

told = []
for arguments in json.loads(sys.argv[1]):
    with redirect_stdout(io.StringIO()) as output, redirect_stderr(io.StringIO()) as errors:
        code = run(arguments)
    told.append([code, output.getvalue(), errors.getvalue(), len(locked)])
print(json.dumps(told))
"""


COMMANDS = (
    (("init", "--yes"), 0),
    (("config", "check"), 0),
    (("plan",), 0),
    (("keys", "add", "ann"), 0),
    (("up", "--no-tui"), 1),
    (("status",), 69),
    (("doctor",), 1),
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
        assert told[command][0] == code, (command, told[command])
        assert "Traceback" not in told[command][2]
    assert (tmp_path / "fleet.yaml").is_file()
    assert '"ann"' in (tmp_path / "state" / "keys.json").read_text()
    locks = told["keys", "add", "ann"][3] - told["plan",][3]
    assert locks == 1, "the file is changed under the lock of Windows"
    assert "cannot run on this system" in told["up", "--no-tui"][2]
    assert "WSL 2" in told["doctor",][1]
