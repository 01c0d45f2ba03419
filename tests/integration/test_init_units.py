"""`fleet init` takes the place of a service of systemd: a server that runs, a systemctl that plays.

The control group of the server is played too; the command line is a process of its own.
"""

import os
import shlex
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress

import pytest
from fleet_process import until

from ollama_fleet.bench.ports import free_port
from ollama_fleet.control.ports import is_free

SERVER = """\
import sys
from ollama_fleet.sim.ollama.__main__ import main
sys.exit(main(sys.argv[1:]))
"""

FLEET = """\
import os, sys
from ollama_fleet.cli import run
from ollama_fleet.control import service
from ollama_fleet.control.service import processes

pid, all_servers = int(sys.argv[1]), service.servers
processes._cgroup = lambda of: "/system.slice/ollama.service" if of == pid else "/"
service.servers = lambda ours: (each for each in all_servers(ours) if each.pid == pid)
service.os.getuid = lambda: 1000  # who needs sudo
sys.exit(run(sys.argv[2:]))
"""

ENDS = 'kill "$(cat pid)"'
FAILS = "exit 1"
HANGS = "echo $$ > hanging; exec sleep 60"
PASSES = 'exec "$@"'


class Box:
    """A folder with a server, its systemctl and sudo, and the command line."""

    def __init__(self, folder, server, port):
        self.folder, self.server, self.port = folder, server, port
        self.file = folder / "fleet.yaml"

    def put(self, name, script):
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\ncd {shlex.quote(str(self.folder))}\n{script}\n")
        path.chmod(0o755)

    def systemctl(self, stop):
        """It tells of the unit whoever asks, and does what it is told in a way of its own."""
        show = f"printf 'MainPID={self.server.pid}\\nUnitFileState=enabled\\n'; exit"
        note = 'echo "$@" >> orders'
        self.put("systemctl", f'case "$*" in *show*) {show};; esac\n{note}\n{stop}')

    @property
    def orders(self):
        """What systemctl was told to do."""
        path = self.folder / "orders"
        return path.read_text().splitlines() if path.exists() else []

    def hanging(self):
        """The pid of a systemctl that hangs; 0 if there is none yet."""
        path = self.folder / "hanging"
        return int((path.read_text() if path.exists() else "").strip() or 0)

    @contextmanager
    def init(self, *arguments):
        environ = os.environ | {"PATH": f"{self.folder}/bin:{os.environ['PATH']}"}
        command = (sys.executable, "-c", FLEET, str(self.server.pid), "init", *arguments)
        pipes = {"stdin": subprocess.DEVNULL, "stdout": -1, "stderr": -1, "text": True}
        with subprocess.Popen(command, cwd=self.folder, env=environ, **pipes) as process:
            try:
                yield process
            finally:
                process.kill()

    def take_over(self, *arguments):
        """Run it to its end; exit code and what it said."""
        with self.init("--service", "take-over", "--yes", *arguments) as process:
            output, errors = process.communicate(timeout=60)
            return process.returncode, output + errors


@pytest.fixture
def box(tmp_path):
    program, port = tmp_path / "ollama", free_port()
    program.write_text(SERVER)
    environ = os.environ | {
        "HOME": str(tmp_path),
        "OLLAMA_HOST": f"127.0.0.1:{port}",
        "OLLAMA_MODELS": str(tmp_path / "store"),
    }
    command = (sys.executable, str(program), "serve")
    with subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL) as server:
        until(lambda: not is_free("127.0.0.1", port), what="a server")
        (tmp_path / "pid").write_text(str(server.pid))
        made = Box(tmp_path, server, port)
        made.put("sudo", PASSES)
        yield made
        server.kill()


def test_a_service_is_ended_by_its_manager_and_the_file_says_what_undoes_that(box):
    box.systemctl(ENDS)
    code, said = box.take_over()
    assert code == 0, said
    assert box.orders == ["disable --now ollama"]
    assert box.server.wait(20) is not None
    text = box.file.read_text()
    assert f'listen: "127.0.0.1:{box.port}"' in text
    assert "`fleet down`, then sudo systemctl enable --now ollama" in text


def test_where_the_manager_refuses_the_server_goes_on_and_the_file_stands(box):
    box.systemctl(FAILS)
    code, said = box.take_over()
    assert code == 1
    assert "`sudo systemctl disable --now ollama` ended with exit code 1" in said
    assert box.server.poll() is None
    assert box.file.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_what_was_interrupted_is_done_by_a_second_run(box, number):
    """Between the two steps, with the file written and nothing stopped."""
    box.systemctl(HANGS)
    with box.init("--service", "take-over", "--yes") as process:
        hanging = until(box.hanging, what="the order to stop")
        process.send_signal(number)
        process.wait(60)
        with suppress(ProcessLookupError):  # nobody ends it for who was killed
            os.kill(hanging, signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
    if number is signal.SIGINT:
        assert process.returncode == 130
        assert "fleet.yaml is written; whether sudo systemctl disable --now ollama" in errors
    assert box.server.poll() is None
    first = box.file.read_text()
    box.systemctl(ENDS)
    code, said = box.take_over("--force")
    assert code == 0, said
    assert box.file.read_text() == first
    assert box.server.wait(20) is not None
