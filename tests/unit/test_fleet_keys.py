"""A fleet's keys: when it may start, and what a file or a configuration changes while it runs."""

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from ollama_fleet.api.auth import Denied, Role, keyfile
from ollama_fleet.api.auth.keyfile import KeyRecord, add
from ollama_fleet.config import Config
from ollama_fleet.directories import Directories
from ollama_fleet.errors import ConfigError, Exit
from ollama_fleet.fleet.key_facts import key_facts
from ollama_fleet.fleet.keys import Keys
from ollama_fleet.state import Kind

OPEN = {"listen": "0.0.0.0:11434"}
NOW_S = datetime(2026, 11, 22, tzinfo=UTC).timestamp()


@pytest.fixture
def directories(tmp_path):
    return Directories(tmp_path, tmp_path / "socket")


def key_for(directories, name="ann", **fields):
    return add(directories.keys, lambda digest: KeyRecord(name, digest, **fields))


def test_without_a_key_it_does_not_start_where_one_is_needed(directories):
    for config, told in (
        (OPEN, r"0\.0\.0\.0:11434 can be reached by others, and no valid key is in .*keys\.json"),
        ({"auth": {"required": True}}, "auth.required is true"),
    ):
        with pytest.raises(ConfigError, match=told) as refused:
            Keys(Config(**config), directories)
        assert refused.value.exit_code is Exit.CONFIG
        assert "`fleet keys add NAME --role admin` makes one" in refused.value.told
    for config in ({}, {**OPEN, "insecure_no_auth": True}, {**OPEN, "auth": {"required": False}}):
        Keys(Config(**config), directories)


def test_a_key_that_has_expired_does_not_count(directories):
    key_for(directories, expires=datetime(2001, 1, 1, tzinfo=UTC))
    with pytest.raises(ConfigError):
        Keys(Config(**OPEN), directories)


def test_a_broken_file_is_told_at_the_start_even_where_no_key_is_needed(directories):
    directories.keys.write_text("{}")
    with pytest.raises(ConfigError, match="it is no file of keys"):
        Keys(Config(), directories)


def test_what_fleet_yaml_says_of_callers_can_change(directories):
    key = key_for(directories)
    keys = Keys(Config(auth={"required": True}), directories)
    assert keys.gate.enter(key, "/api/chat", by_own_name=True).bounds.options is None
    keys.follow(Config(auth={"required": True, "users": {"options": ["seed"]}, "create": True}))
    caller = keys.gate.enter(key, "/api/chat", by_own_name=True)
    assert caller.bounds.options == {"seed"}
    root = key_for(directories, "root", role=Role.ADMIN)
    with pytest.raises(Denied):
        keys.gate.enter(root, "/api/create", by_own_name=True)  # nobody has read the file anew


def test_keys_that_are_read_while_fleet_yaml_changes_go_by_what_it_says_now(
    directories, monkeypatch
):
    """The file is read on a thread: a reload meanwhile must not be undone by what comes of it."""
    key_for(directories)
    told, changed = [], Config(auth={"users": {"max_context": 99}})
    keys = Keys(Config(), directories, look_s=0.0)

    def read(path):
        keys.follow(changed)
        return keyfile.read(path)

    monkeypatch.setattr("ollama_fleet.fleet.keys.read", read)

    async def change():
        recording = SimpleNamespace(metrics=None, on_record=[])
        async with keys.watched(told.append, recording), asyncio.timeout(20):
            added = key_for(directories, "bob")
            while not told:
                await asyncio.sleep(0)
            return added

    bob = asyncio.run(change())
    assert told[0].kind is Kind.KEYS_READ
    assert told[0].text == f"the keys have changed; valid now: {told[0].figures['keys']}"
    assert keys.gate.enter(bob, "/api/chat", by_own_name=True).bounds.max_context == 99


def test_a_file_that_nobody_can_reach_is_told_at_the_start(directories):
    """It may have keys: a fleet that began without them would let nobody in, or everybody."""
    (directories.keys.parent / "file").touch()
    with pytest.raises(ConfigError, match="Not a directory"):
        Keys(
            Config(auth={"keys_file": str(directories.keys.parent / "file/keys.json")}), directories
        )


@pytest.mark.parametrize(
    ("config", "required", "is_open"),
    [
        ({}, False, False),
        (OPEN, True, False),
        ({"auth": {"required": True}}, True, False),
        ({**OPEN, "insecure_no_auth": True}, False, True),
    ],
)
def test_the_doctor_sees_who_has_a_key_and_who_needs_one(directories, config, required, is_open):
    none = key_facts(Config(**config), directories, NOW_S)
    assert (none.required, none.is_open) == (required, is_open)
    assert (none.trouble, none.valid, none.admins, none.expired) == ("", 0, 0, ())
    key_for(directories)
    key_for(directories, "root", role=Role.ADMIN)
    key_for(directories, "old", role=Role.ADMIN, expires=datetime(2020, 1, 1, tzinfo=UTC))
    seen = key_facts(Config(**config), directories, NOW_S)
    assert (seen.trouble, seen.valid, seen.admins, seen.expired) == ("", 2, 1, ("old",))


def test_the_doctor_sees_a_file_of_keys_that_cannot_be_used(directories):
    directories.keys.write_text("{")
    seen = key_facts(Config(), directories, NOW_S)
    assert "no file of keys" in seen.trouble
    assert not seen.valid


@pytest.mark.parametrize(
    ("config", "kinds"),
    [
        ({}, []),
        (OPEN, []),
        ({**OPEN, "insecure_no_auth": True}, [Kind.FRONT_OPEN]),
        ({**OPEN, "auth": {"required": False}}, [Kind.FRONT_OPEN]),
    ],
)
def test_a_fleet_that_lets_every_stranger_in_says_so(directories, config, kinds):
    key_for(directories)
    told = []

    async def start():
        recording = SimpleNamespace(metrics=None, on_record=[])
        async with Keys(Config(**config), directories).watched(told.append, recording):
            pass

    asyncio.run(start())
    assert [notice.kind for notice in told] == kinds
