"""How `fleet init` writes its file, what it makes of a store, and whom it refuses to stop."""

import os
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from ollama_fleet.cli.commands import fleet, init
from ollama_fleet.control import service
from ollama_fleet.control.service import Service
from ollama_fleet.errors import FleetError
from ollama_fleet.layout import Access


def test_the_folder_of_the_file_is_made(tmp_path):
    path = tmp_path / "new" / "folder" / "fleet.yaml"
    init._write(path, "a\n", force=False)
    assert path.read_text() == "a\n"


def test_a_file_is_replaced_only_by_force_and_keeps_its_mode(tmp_path):
    path = tmp_path / "fleet.yaml"
    path.write_text("old")
    path.chmod(0o600)
    with pytest.raises(FleetError, match="there already"):
        init._write(path, "new", force=False)
    assert path.read_text() == "old"
    init._write(path, "new", force=True)
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("force", [True, False])
def test_what_cannot_be_written_leaves_what_was_there_and_nothing_half(tmp_path, force):
    """As on a full disk; here it is a text that UTF-8 has no bytes for."""
    path = tmp_path / "fleet.yaml"
    if force:
        path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        init._write(path, "new\udcff", force=force)
    assert [each.read_text() for each in tmp_path.iterdir()] == (["old"] if force else [])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files for others")
def test_what_root_replaces_stays_its_owners(tmp_path):
    path = tmp_path / "fleet.yaml"
    path.write_text("old")
    os.chown(path, 12345, 12345)
    init._write(path, "new", force=True)
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 12345)


def test_a_link_stays_a_link(tmp_path):
    real, link = tmp_path / "real.yaml", tmp_path / "fleet.yaml"
    real.write_text("old")
    link.symlink_to(real)
    init._write(link, "new", force=True)
    assert link.is_symlink()
    assert real.read_text() == "new"


def test_what_is_no_file_is_written_to_and_never_replaced(tmp_path):
    """As /dev/stdout is, which root could put a file in the place of."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        init._write(pipe, "new", force=True)
        assert os.read(reader, 9) == b"new"
        with pytest.raises(UnicodeEncodeError):
            init._write(pipe, "new\udcff", force=True)
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize(
    ("denied", "mode", "access"),
    [
        ("", 0, Access.WRITE),
        ("blobs", os.W_OK, Access.READ),
        ("manifests", os.W_OK, Access.READ),
        ("models", os.W_OK, Access.READ),
        ("blobs", os.R_OK, Access.NONE),
        ("models", os.X_OK, Access.NONE),
    ],
)
def test_a_store_can_be_used_if_its_folders_can(tmp_path, monkeypatch, denied, mode, access):
    """The folder itself may be a group's while its blobs are their owner's alone."""
    for name in ("blobs", "manifests"):
        (tmp_path / "models" / name).mkdir(parents=True)
    monkeypatch.setattr(
        os, "access", lambda path, asked: not (Path(path).name == denied and asked & mode)
    )
    assert init._access(str(tmp_path / "models")) is access


def test_a_store_behind_a_closed_door_is_neither_there_nor_to_be_made(tmp_path, monkeypatch):
    """The home of the user ollama has mode 0750 or 0700: what is in it cannot even be asked for."""
    home = tmp_path / "ollama"
    (home / ".ollama" / "models").mkdir(parents=True)
    exists = os.path.exists
    monkeypatch.setattr(
        os.path, "exists", lambda path: exists(path) and home not in Path(path).parents
    )
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != home)
    assert init._access(str(home / ".ollama" / "models")) is Access.NONE


def test_whom_nobody_here_can_stop_is_not_taken_over():
    kept = Service(812, "root", "127.0.0.1", 1, "", "container 0123", "")
    with pytest.raises(FleetError, match="container 0123 cannot be stopped") as refused:
        init._agreed("take-over", (kept,), yes=True)
    assert "--service" in refused.value.hint
    assert init._agreed("front", (kept,), yes=True) == ()


def test_where_nothing_runs_already_whoever_wanted_its_place_is_told(tmp_path, monkeypatch):
    """The file is written as for a machine without one."""
    monkeypatch.setattr(service, "find_services", lambda **_: ())
    path = tmp_path / "fleet.yaml"
    done = CliRunner().invoke(fleet, ["init", "--service", "take-over", str(path)])
    assert done.exit_code == 0
    assert "there is none to take over" in done.output
    assert "listen: 127.0.0.1:11434" in path.read_text()
