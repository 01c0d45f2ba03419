"""Every module can be imported where the system has less than Linux; what it lacks is taken away.

In a process of its own, after the standard library and the libraries of others have been imported:
they know those systems, and would look for what is not on this one. Nothing was run on macOS or
Windows.
"""

import subprocess
import sys

import pytest

_CHILD = """
import importlib, os, pkgutil, select, signal, socket, sys
import asyncio, concurrent.futures.thread, ctypes, http.client, logging.handlers, mmap
import multiprocessing, sqlite3, ssl, subprocess, sysconfig, tempfile, zoneinfo
import aiohttp.web, aiohttp.web_protocol, click, msgspec, prometheus_client, psutil
import pydantic.fields, pynvml, rich.console, textual.app, textual.widgets, yaml

sysconfig.get_config_vars()

system, modules, names, skipped = sys.argv[1], *(text.split() for text in sys.argv[2:5])


class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name in modules:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


for name in modules:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Refusing())
for name in names:
    module, _, attribute = name.partition(".")
    vars(sys.modules[module]).pop(attribute, None)
sys.platform = system
import ollama_fleet
for found in pkgutil.walk_packages(ollama_fleet.__path__, "ollama_fleet."):
    if not found.name.endswith("__main__") and not found.name.startswith(tuple(skipped)):
        importlib.import_module(found.name)
print(sum(name.startswith("ollama_fleet.") for name in sys.modules))
"""

_DARWIN_LACKS = """
    os.pidfd_open os.pipe2 os.posix_fadvise os.sched_getaffinity os.sched_setaffinity os.waitid
    os.copy_file_range os.memfd_create os.eventfd signal.pidfd_send_signal select.epoll
    socket.TCP_USER_TIMEOUT socket.TCP_INFO
"""
_WINDOWS_LACKS = (
    _DARWIN_LACKS
    + """
    os.O_CLOEXEC os.O_NOFOLLOW os.O_DIRECTORY os.O_NONBLOCK os.pread os.pwrite os.getuid os.geteuid
    os.getgid os.chown os.fchown os.fchmod os.killpg os.getpgid os.setsid os.statvfs os.fstatvfs
    os.setpriority os.getpriority os.sendfile os.set_blocking os.fork os.uname os.environb
    os.WNOHANG os.WNOWAIT os.WEXITED os.P_PID os.CLD_EXITED os.register_at_fork
    signal.SIGKILL signal.SIGHUP signal.SIGCONT signal.SIGSTOP signal.SIGUSR1 signal.SIGPIPE
    signal.SIGQUIT signal.SIGWINCH select.poll select.PIPE_BUF socket.AF_UNIX
"""
)


@pytest.mark.platform
@pytest.mark.parametrize(
    ("system", "modules", "names", "skipped"),
    [
        ("darwin", "", _DARWIN_LACKS, ""),
        # The benches that strike processes and pin them to cores are tools for Linux.
        (
            "win32",
            "uvloop fcntl pwd grp resource termios tty pty",
            _WINDOWS_LACKS,
            "ollama_fleet.bench",
        ),
    ],
)
def test_every_module_can_be_imported_without_what_a_system_lacks(system, modules, names, skipped):
    ran = subprocess.run(
        [sys.executable, "-c", _CHILD, system, modules, names, skipped],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert int(ran.stdout) > 300, "hardly any module was looked at"
