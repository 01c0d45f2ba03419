"""Ports for programs that are started later: nobody else gets them in between."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ollama_fleet.bench import ports

RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
NEIGHBOUR = """
import sys
from ollama_fleet.bench import ports
ports._FIRST, ports._END = int(sys.argv[1]), int(sys.argv[2])
print(*(ports.free_port() for _ in range(20)))
"""


@pytest.fixture
def narrow(monkeypatch):
    """Ports are handed out of three only; their first."""
    first = ports.free_port(3)
    monkeypatch.setattr(ports, "_FIRST", first)
    monkeypatch.setattr(ports, "_END", first + 3)
    return first


@pytest.mark.parametrize("count", [1, 4])
def test_a_port_is_none_that_the_kernel_hands_out_by_itself(count):
    first = ports.free_port(count)
    with socket.create_server(("127.0.0.1", 0)) as any_server:
        assert first + count <= any_server.getsockname()[1]
    if RANGE.exists():
        assert first + count <= int(RANGE.read_text().split()[0])


def test_one_that_somebody_has_is_passed_over(narrow):
    with socket.create_server(("127.0.0.1", narrow)):
        assert {ports.free_port() for _ in range(50)} == {narrow + 1, narrow + 2}
        assert ports.free_port(2) == narrow + 1


def test_what_one_process_was_given_no_other_is_though_nobody_listens_there_yet(narrow):
    ports._claims._give_up([narrow])  # the other two were handed out with it
    command = [sys.executable, "-c", NEIGHBOUR, str(narrow), str(narrow + 3)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {str(narrow)}
