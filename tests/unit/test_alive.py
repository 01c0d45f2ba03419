"""Which keys of fleet.yaml a running fleet takes, and that the manual says the same."""

import re
from pathlib import Path

from ollama_fleet.config import Config
from ollama_fleet.config.alive import FIXED, LIVE, changed, fixed
from ollama_fleet.config.paths import show_path
from ollama_fleet.errors import NotLive

PAGE = (Path(__file__).parents[2] / "docs" / "changing.md").read_text()


def config(**keys) -> Config:
    return Config.model_validate(keys)


def test_what_says_something_else_is_named_as_the_file_has_it():
    new = config(queue={"limit": 7}, history={"keep": "1h"}, groups=[{"name": "x", "gpus": [0]}])
    found = {show_path(path) for path in changed(Config(), new)}
    assert found == {"queue.limit", "history.keep", "groups"}
    assert [*fixed(Config(), new)] == ["history.keep"]
    assert changed(new, new) == ()


def _groups(of: Config):
    return [{"name": group.name, "gpus": list(group.gpus)} for group in of.groups]


def test_a_store_that_is_new_to_the_fleet_cannot_be_taken(tmp_path):
    old = config(groups=[{"name": "x", "gpus": [0]}])
    new = config(groups=[{"name": "x", "gpus": [0], "store": str(tmp_path)}])
    assert [*fixed(old, new)] == ["groups"]
    both = config(groups=[*_groups(old), {"name": "y", "gpus": [1], "store": str(tmp_path)}])
    assert not fixed(both, new)


def test_what_is_refused_is_told_with_the_reason_and_the_command_that_takes_it():
    new = config(pulls={"insecure": True}, limits={"body": "1MiB", "connections": 9})
    refused = NotLive(fixed(Config(), new))
    assert refused.keys == ("pulls.insecure", "limits.body")
    for key, why in fixed(Config(), new).items():
        assert f"{key} ({why})" in refused.reason
    assert "`fleet down && fleet up`" in refused.hint


def test_every_section_that_is_not_taken_whole_has_a_reason():
    whole = {path[0] for path in LIVE if len(path) == 1} - {"groups"}
    assert {path[0] for path in FIXED} == Config.model_fields.keys() - whole


def test_every_key_that_is_taken_is_one():
    tree = Config().model_dump(mode="json", by_alias=True)
    for path in LIVE:
        here = tree
        for step in path:
            assert step in here, path
            here = here[step]


def test_the_manual_says_of_each_section_whether_it_is_taken():
    table = PAGE[PAGE.index("| section |") : PAGE.index("What a reload does not take")]
    rows = [line.split("|")[1:3] for line in table.splitlines()[2:] if line.startswith("|")]
    said = {name: told for names, told in rows for name in re.findall(r"`(\w+)`", names)}
    assert said.keys() == Config.model_fields.keys()
    for section, told in said.items():
        taken = [path for path in LIVE if path[0] == section]
        assert ("yes" in told) == bool(taken), section
        for path in taken:
            assert len(path) == 1 or f"`{path[1]}`" in told
