"""Run records and what is decided by them; process tables are written by hand."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.control.orphans import (
    Action,
    RunRecord,
    decide,
    parse_record,
    remove_record,
    write_record,
)
from ollama_fleet.control.processes import Process, find_process, parse_stat

RECORD = RunRecord("gpu0", 4000, 777, 11435, ("GPU-1",), "hash", "boot")
OTHERS = st.integers().filter(lambda n: n != RECORD.started_ticks)
STATES = st.sampled_from("RSDTZXIt")


def process(pid, started_ticks, state="S"):
    return Process(pid, state, 1, RECORD.pid, RECORD.pid, started_ticks)


MEMBERS = st.lists(st.builds(process, st.integers(2), st.integers()))


@given(OTHERS, STATES, MEMBERS)
def test_a_pid_with_another_start_time_and_its_group_are_never_touched(ticks, state, members):
    stranger = process(RECORD.pid, ticks, state)
    assert decide(RECORD, stranger, members, "boot") is Action.FORGET


@given(st.none() | st.builds(process, st.just(4000), st.integers(), STATES), MEMBERS, st.text())
def test_nothing_of_another_boot_is_touched(leader, members, boot):
    if boot != RECORD.boot_id:
        assert decide(RECORD, leader, members, boot) is Action.FORGET


@pytest.mark.parametrize(
    ("leader", "members", "action"),
    [
        (process(4000, 777), [], Action.END_ALL),
        (process(4000, 777, "T"), [process(4001, 900)], Action.END_ALL),
        (process(4000, 777, "Z"), [process(4001, 900)], Action.END_RUNNERS),
        (process(4000, 777, "Z"), [], Action.FORGET),
        (None, [process(4001, 900)], Action.END_RUNNERS),
        (None, [], Action.FORGET),
    ],
)
def test_what_is_ours_and_alive_is_ended(leader, members, action):
    assert decide(RECORD, leader, members, "boot") is action


@pytest.mark.parametrize("name", ["ollama", "a) S 1 (b", ") (", "", "two\nlines", "ü \udcff"])
def test_the_name_of_a_program_cannot_confuse_the_process_table(name):
    fields = " ".join(str(n) for n in range(4, 53))
    assert parse_stat(f"42 ({name}) S {fields}\n") == Process(42, "S", 4, 5, 6, 22)


@given(st.text())
def test_any_other_text_is_no_line_of_the_process_table(text):
    with pytest.raises(ValueError, match=r".*"):
        parse_stat(text)


def test_there_is_no_process_of_an_impossible_number():
    assert find_process(2**31 - 1) is None


def test_a_record_is_read_as_it_was_written_and_is_for_our_eyes_only(tmp_path):
    folder = tmp_path / "runs"
    write_record(folder, RECORD)
    write_record(folder, RECORD)
    (path,) = folder.iterdir()
    assert parse_record(path.read_text()) == RECORD
    assert path.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    remove_record(folder, "gpu0")
    remove_record(folder, "gpu0")
    assert not list(folder.iterdir())


def test_a_record_in_the_making_that_a_crash_left_is_no_obstacle(tmp_path):
    (tmp_path / "gpu0.run.new").write_text("{")
    write_record(tmp_path, RECORD)
    assert [path.name for path in tmp_path.iterdir()] == ["gpu0.run.json"]


GOOD = {
    "name": "gpu0",
    "pid": 4000,
    "started_ticks": 777,
    "port": 11435,
    "gpus": ["GPU-1"],
    "argv_hash": "hash",
    "boot_id": "boot",
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.sampled_from(sorted(GOOD)), JSON)
def test_a_field_of_another_kind_makes_a_record_unreadable(name, value):
    """A bad record must never become a signal: group 0 is our own, group 1 half the machine."""
    text = json.dumps(GOOD | {name: value})
    try:
        record = parse_record(text)
    except ValueError:
        return
    assert type(getattr(record, name)) is type(getattr(RECORD, name))
    assert record.pid > 1


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{}", "[" * 100_000, json.dumps(GOOD | {"x": 1})]
)
def test_what_is_no_record_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        parse_record(text)


@pytest.mark.parametrize("pid", [1, 0, -1, -4000, True])
def test_a_record_never_names_a_group_that_is_not_an_instances(pid):
    with pytest.raises(ValueError, match=r"."):
        parse_record(json.dumps(GOOD | {"pid": pid}))
