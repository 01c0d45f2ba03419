"""Whether a port could be had is found out by trying, on every address that a name has."""

import socket
from types import SimpleNamespace

import pytest

from ollama_fleet.control import ports
from ollama_fleet.control.ports import bind_trouble, is_free


def test_a_name_is_free_if_all_its_addresses_are():
    """`localhost` is ::1 first on many machines, and an Ollama is on 127.0.0.1."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not is_free("localhost", server.getsockname()[1])


@pytest.mark.platform
@pytest.mark.parametrize(("system", "reuses"), [("posix", True), ("nt", False)])
def test_who_listens_is_not_listened_beside(system, reuses, monkeypatch):
    """On Windows SO_REUSEADDR is leave to do that: a port that is taken would seem free."""
    asked = []
    set_ = socket.socket.setsockopt

    def noted(probe, level, option, value):
        asked.append(option)
        set_(probe, level, option, value)

    monkeypatch.setattr(socket.socket, "setsockopt", noted)
    monkeypatch.setattr(ports, "os", SimpleNamespace(name=system))
    bind_trouble("127.0.0.1", 0)
    assert (socket.SO_REUSEADDR in asked) is reuses


def test_what_is_no_port_is_a_trouble_and_no_crash():
    assert bind_trouble("127.0.0.1", 2**70) is not None
    assert bind_trouble("no such host", 1) is not None
