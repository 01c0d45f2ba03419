"""TAB in the shells themselves: what is typed becomes what the running fleet has."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_fixtures import Cli, until

PROGRAMS = str(Path(sys.executable).parent)  # `fleet` itself, as it is installed
WAIT_S = 60.0
DONE = [
    ("fleet sta", "fleet status"),
    ("fleet -q show ti", "fleet -q show tiny:latest"),
    ("fleet show tiny:l", "fleet show tiny:latest"),
    ("fleet plan --model ti", "fleet plan --model tiny:latest"),
    ("fleet restart gpu-0 g", "fleet restart gpu-0 gpu-1"),
    ("fleet load --on=gp", "fleet load --on=gpu"),
    ("fleet top --view dec", "fleet top --view decisions"),
    ("fleet logs --foll", "fleet logs --follow"),
]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """A fleet of gpu-0 and gpu-1 that has the model tiny."""
    cli = Cli(tmp_path_factory.mktemp("completion"))
    try:
        done = cli.run(*cli.up, "--wait", "--wait-timeout", "50s")
        assert done.code == 0, done.err
        assert cli.run("pull", "-q", "tiny").code == 0
        yield cli
    finally:
        cli.end()


class _Shell:
    """An interactive shell on a terminal: what it shows, and keys for it."""

    def __init__(self, cli, *argv):
        self._ours, theirs = pty.openpty()
        path = f"{PROGRAMS}{os.pathsep}{cli.environ['PATH']}"
        self.process = subprocess.Popen(
            argv,
            cwd=cli.folder,
            env={**cli.environ, "PATH": path, "TERM": "dumb", "PS1": "", "HOME": str(cli.folder)},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def press(self, keys):
        os.write(self._ours, keys.encode())

    def until(self, pattern):
        """Wait until that is shown after all that was waited for before; the match."""
        shown, end_s = "", time.monotonic() + WAIT_S
        while not (match := re.search(pattern, shown)):
            assert time.monotonic() < end_s, f"{pattern!r} is not in {shown!r}"
            if select.select([self._ours], [], [], 0.1)[0]:
                shown += os.read(self._ours, 65536).decode(errors="replace")
        return match

    def completed(self, typed):
        """The line that TAB makes of what is typed: it is printed, from its start to its end."""
        self.press(f"{typed}\t\x01echo '[\x05]'\n")
        return self.until(r"\n\[([^\n]*)\]\r")[1]

    def obey(self, command):
        """Run a command to its end; what is waited for is not in the command as it is typed."""
        self.press(f"{command}; echo do''ne\n")
        self.until("done\r\n")

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


@pytest.fixture
def shell(fleet):
    opened = []

    def open_shell(*argv):
        opened.append(_Shell(fleet, *argv))
        return opened[-1]

    yield open_shell
    for each in opened:
        each.close()


def _needs(program):
    return pytest.mark.skipif(not shutil.which(program), reason=f"{program} is not installed")


BASH = ("bash", "--norc", "--noprofile", "-i")
ZSH = ("zsh", "-f", "-i")


@pytest.mark.parametrize(
    ("argv", "begin"),
    [
        pytest.param(BASH, 'eval "$(fleet completion bash)"', marks=_needs("bash"), id="bash"),
        pytest.param(
            ZSH,
            'autoload -Uz compinit; compinit -D; eval "$(fleet completion zsh)"',
            marks=_needs("zsh"),
            id="zsh",
        ),
    ],
)
def test_tab_completes_commands_options_instances_and_models(shell, argv, begin):
    """Each line that is begun is the whole line after TAB, a model's tag included.

    A fleet that does not answer within a fifth of a second offers nothing: TAB is pressed again.
    """
    opened = shell(*argv)
    opened.obey(begin)
    for typed, line in DONE:
        until(lambda: opened.completed(typed).startswith(line), line)  # noqa: B023 - called here


@_needs("fish")
@pytest.mark.parametrize(("typed", "line"), DONE)
def test_fish_offers_the_same(fleet, typed, line):
    """What fish offers for a line ends it as the other shells would."""
    program = f"fleet completion fish | source; complete -C '{typed}'"

    def offered():
        done = subprocess.run(
            ["fish", "--no-config", "-c", program],
            env={**fleet.environ, "PATH": f"{PROGRAMS}{os.pathsep}{fleet.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=True,
        )
        return done.stdout.splitlines()

    until(lambda: any(each.startswith(line.split()[-1]) for each in offered()), line)
