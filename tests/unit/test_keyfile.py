"""The file of keys: whole or not at all, for its user alone, and no key in it."""

import errno
import json
import math
import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.api.auth.bounds import Bounds
from ollama_fleet.api.auth.caller import Caller, Models, Role
from ollama_fleet.api.auth.keyfile import MAX_BYTES, KeyRecord, add, read, remove, ring
from ollama_fleet.api.auth.rates import Rate
from ollama_fleet.errors import ConfigError, FleetError
from ollama_fleet.names import canonical
from ollama_fleet.router.intake import Priority

SHARED = Bounds(max_context=4096)


def added(path, name="ann", **fields):
    return add(path, lambda digest: KeyRecord(name, digest, **fields))


def test_a_key_is_found_by_itself_and_by_nothing_in_the_file(tmp_path):
    path = tmp_path / "keys.json"
    key = added(path, models=("qwen3:8b",), requests="60/m", priority="low", concurrent=2)
    keys = ring(path, read(path), SHARED)
    assert keys.find(key) == Caller(
        name="ann",
        role=Role.USER,
        models=Models.named(["qwen3:8b"]),
        priority=Priority.LOW,
        requests=Rate(60, 60.0),
        concurrent=2,
        expires_s=math.inf,
        bounds=SHARED,
    )
    text = path.read_text()
    assert key not in text
    assert key.removeprefix("fleet_") not in text
    for wrong in ("", "fleet_", key[:-1], key + "0", key.upper(), *text.split('"')):
        assert keys.find(wrong) is None


def test_nobody_else_may_read_it_however_it_was_before(tmp_path):
    path = tmp_path / "deep" / "keys.json"
    added(path)
    path.chmod(0o644)
    added(path, "bob", role=Role.ADMIN)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(p.name for p in path.parent.iterdir()) == ["keys.json", "keys.json.lock"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_root_changes_can_be_read_by_who_runs_the_fleet(tmp_path):
    path, theirs = tmp_path / "keys.json", 4321
    os.chown(tmp_path, theirs, theirs)
    for name in ("ann", "bob"):
        added(path, name)
        assert (path.stat().st_uid, path.stat().st_gid) == (theirs, theirs)
    os.chown(path, theirs + 1, theirs + 1)
    remove(path, ["ann"])
    assert (path.stat().st_uid, stat.S_IMODE(path.stat().st_mode)) == (theirs + 1, 0o600)


def test_a_link_to_it_stays_a_link(tmp_path):
    real = tmp_path / "real.json"
    added(real)
    link = tmp_path / "keys.json"
    link.symlink_to(real)
    added(link, "bob")
    assert link.is_symlink()
    assert [key.name for key in read(real).keys] == ["ann", "bob"]


def test_names_are_added_once_and_removed_by_name(tmp_path):
    path = tmp_path / "keys.json"
    first = added(path)
    with pytest.raises(FleetError, match="there is a key for ann already"):
        added(path)
    second = added(path, "bob")
    with pytest.raises(FleetError, match=r"no key is called eve.*there are ann, bob"):
        remove(path, ["ann", "eve"])
    remove(path, ["ann"])
    keys = ring(path, read(path))
    assert keys.find(first) is None
    assert keys.find(second).name == "bob"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": "1.2.3.4"}, "'1.2.3.4' is no name"),
        ({"name": "Localhost"}, "'Localhost' is no name"),
        ({"name": "a b"}, "is no name"),
        ({"digest": "ab"}, "`digest` is no 64 hex digits"),
        ({"requests": "lots"}, "'lots' is not a rate"),
        ({"models": ["a b"]}, "'a b' is not a model name"),
        ({"role": "admin", "models": ["m"]}, "an admin may change every model"),
        ({"concurrent": 0}, "`concurrent` is less than 1"),
        ({"role": "king"}, "keys\\[0\\].role"),
        ({"priority": "top"}, "keys\\[0\\].priority"),
        ({"colour": "red"}, "unknown field `colour`"),
        ({"expires": "soon"}, "keys\\[0\\].expires"),
    ],
)
def test_what_is_wrong_is_told_with_its_place_and_nothing_is_taken(tmp_path, change, told):
    path = tmp_path / "keys.json"
    added(path)
    document = json.loads(path.read_text())
    document["keys"][0] |= change
    path.write_text(json.dumps(document))
    with pytest.raises(ConfigError, match=told) as refused:
        ring(path, read(path))
    assert str(path) in str(refused.value)
    with pytest.raises(ConfigError):
        added(path, "bob")
    assert json.loads(path.read_text()) == document, "a file that is wrong is not made worse"


def test_a_name_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "keys.json"
    added(path)
    document = json.loads(path.read_text())
    document["keys"] *= 2
    path.write_text(json.dumps(document))
    with pytest.raises(ConfigError, match="ann stands there already"):
        ring(path, read(path))


def test_a_key_has_one_owner(tmp_path):
    """Whoever copies an entry, and changes all but its digest, has made nobody an admin."""
    path = tmp_path / "keys.json"
    added(path)
    document = json.loads(path.read_text())
    document["keys"].append({**document["keys"][0], "name": "bob", "role": "admin"})
    path.write_text(json.dumps(document))
    with pytest.raises(ConfigError, match=r"keys\[1\]: `digest` is that of ann"):
        ring(path, read(path))


def test_what_has_no_end_is_not_read(tmp_path):
    pipe, long = tmp_path / "pipe", tmp_path / "long"
    os.mkfifo(pipe)
    with long.open("w") as out:
        out.truncate(MAX_BYTES + 1)
    for path, told in ((pipe, "no regular"), (long, "larger than"), (tmp_path, "no regular")):
        with pytest.raises(ConfigError, match=f"{path}: it is {told}"):
            read(path)


def test_a_disk_that_takes_no_more_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "keys.json"
    added(path)
    before = path.read_bytes()

    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FleetError, match=r"keys\.json cannot be changed: No space left"):
        added(path, "bob")
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["keys.json", "keys.json.lock"]


def test_who_changes_it_by_a_link_and_who_by_its_name_take_turns(tmp_path):
    real, folder = tmp_path / "keys.json", tmp_path / "links"
    added(real)
    folder.mkdir()
    (folder / "mine.json").symlink_to(real)
    added(folder / "mine.json", "bob")
    assert [p.name for p in folder.iterdir()] == ["mine.json"], "its lock is beside the file"


@given(st.binary(max_size=200) | st.recursive(st.none() | st.text(), st.lists).map(str))
def test_whatever_the_file_holds_it_is_an_error_to_act_on(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=r"keys\.json"):
        ring(path, read(path))


def test_a_file_that_is_not_there_is_told_with_the_way_out(tmp_path):
    with pytest.raises(ConfigError, match="there is no such file; `fleet keys add` makes it"):
        read(tmp_path / "keys.json")


@pytest.mark.parametrize(
    ("named", "asked", "allowed"),
    [
        ((), "anything", True),
        ((), "", True),
        (("qwen3:8b",), "QWEN3:8b", True),
        (("qwen3:8b",), "registry.ollama.ai/library/qwen3:8b", True),
        (("qwen3:8b",), "qwen3:4b", False),
        (("qwen3:8b",), "", False),
        (("qwen3",), "qwen3:latest", True),
        (("qwen3:*",), "qwen3:4b", True),
        (("qwen3:*",), "me/qwen3:4b", False),
        (("qwen3:*",), "qwen30:4b", False),
        (("qwen3:8b",), "qwen3:8b-cloud", False),
    ],
)
def test_a_list_of_models_allows_these_names_however_they_are_written(named, asked, allowed):
    models = Models.named(named)
    assert models.allow(canonical(asked) if asked else "") is allowed
