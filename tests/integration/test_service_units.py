"""What systemd tells of a unit: a `systemctl` on PATH that answers as it does, or does not."""

import os

import pytest

from ollama_fleet.control.service.units import Unit, ask, told, variables

UNIT = Unit("ollama.service", ("systemctl",))


@pytest.fixture
def systemctl(tmp_path, monkeypatch):
    """Put a script in place of systemctl; what it is asked is in `asked`."""

    def put(script):
        path = tmp_path / "systemctl"
        path.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n{script}\n')
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        return tmp_path / "asked"

    return put


def test_systemd_is_asked_once_and_never_for_a_password(systemctl, tmp_path):
    file = tmp_path / "ollama.env"
    file.write_text("OLLAMA_MODELS=/data/models\n")
    answer = (
        "MainPID=812\nUnitFileState=enabled\n"
        'Environment=PATH=/bin OLLAMA_HOST=0.0.0.0 "OLLAMA_ORIGINS=a b"\n'
        f"EnvironmentFiles={file} (ignore_errors=no)\n"
        "EnvironmentFiles=/no/such/file (ignore_errors=yes)\n"
    )
    asked = systemctl(f"cat <<'X'\n{answer}X")
    unit = ask(UNIT, 20)
    assert (unit.main_pid, unit.file_state) == (812, "enabled")
    assert unit.environment == {
        "PATH": "/bin",
        "OLLAMA_HOST": "0.0.0.0",
        "OLLAMA_ORIGINS": "a b",
        "OLLAMA_MODELS": "/data/models",
    }
    assert "--no-ask-password show" in asked.read_text()
    assert asked.read_text().endswith("-- ollama.service\n")


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("script", "timeout_s"),
    [
        ("echo Environment=A=1; exit 1", 20),
        ("exec sleep 100", 0.2),
        ("printf '\\377\\376MainPID=x\\n'", 20),
    ],
)
def test_a_systemd_that_is_not_there_or_hangs_tells_nothing(systemctl, script, timeout_s):
    systemctl(script)
    assert ask(UNIT, timeout_s) == UNIT


def test_without_systemctl_nothing_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ask(UNIT, 20) == UNIT


@pytest.mark.parametrize(
    "shown", ['Environment="A=b\n', "Environment=\nEnvironmentFiles=/ (ignore_errors=no)\n"]
)
def test_what_cannot_be_read_whole_is_not_taken_for_all(shown):
    """A file that is unreadable could name another store: then no default may be believed."""
    assert told(UNIT, shown).environment is None


def test_a_file_of_variables_is_read_as_systemd_reads_it():
    text = "# W=1\n; S=o\n\nA=1\n B = two words \nC=\"x y\"\nD='z'\nno line\n"
    assert variables(text) == {"A": "1", "B": "two words", "C": "x y", "D": "z"}
