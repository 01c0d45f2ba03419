"""Ports for programs that are started later: nobody else gets them in between."""

import socket
from pathlib import Path

import pytest

from ollama_fleet.bench import ports

RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


@pytest.mark.parametrize("count", [1, 4])
def test_a_port_is_none_that_the_kernel_hands_out_by_itself(count):
    first = ports.free_port(count)
    with socket.create_server(("127.0.0.1", 0)) as any_server:
        assert first + count <= any_server.getsockname()[1]
    if RANGE.exists():
        assert first + count <= int(RANGE.read_text().split()[0])


def test_one_that_somebody_has_is_passed_over(monkeypatch):
    first = ports.free_port(3)
    monkeypatch.setattr(ports, "_FIRST", first)
    monkeypatch.setattr(ports, "_END", first + 3)
    with socket.create_server(("127.0.0.1", first)):
        assert {ports.free_port() for _ in range(50)} == {first + 1, first + 2}
        assert ports.free_port(2) == first + 1
