import os
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.directories import MAX_SOCKET_PATH, Directories


def test_one_variable_moves_everything():
    found = Directories.find({"HOME": "/home/me", "FLEET_STATE_DIR": "/srv/fleet"})
    assert found.state == Path("/srv/fleet")
    assert found.socket == Path("/srv/fleet/control.sock")
    assert found.logs == Path("/srv/fleet/logs")
    assert found.history == Path("/srv/fleet/history.db")


def test_else_the_xdg_directories_say_where():
    found = Directories.find({"HOME": "/home/me", "XDG_RUNTIME_DIR": "/run/user/7"})
    assert found.state == Path("/home/me/.local/state/ollama-fleet")
    assert found.socket == Path("/run/user/7/ollama-fleet.sock")
    assert Directories.find({"HOME": "/h", "XDG_STATE_HOME": "/s"}).state == Path("/s/ollama-fleet")


@given(st.text("abc/", min_size=1, max_size=300))
def test_a_socket_path_is_never_too_long_and_always_the_same(text):
    environ = {"HOME": "/home/me", "FLEET_STATE_DIR": "/" + text}
    found = Directories.find(environ)
    assert len(os.fsencode(found.socket)) <= MAX_SOCKET_PATH
    assert found == Directories.find(environ)


def test_all_fleets_of_a_user_look_for_claims_on_ports_in_one_place(monkeypatch):
    """Else two that were started with different TMPDIRs could draw the same port."""
    found = Directories.find({"HOME": "/home/me", "FLEET_STATE_DIR": "/one"}).ports
    monkeypatch.setattr(tempfile, "tempdir", "/elsewhere")
    assert Directories.find({"HOME": "/home/you", "FLEET_STATE_DIR": "/two"}).ports == found
