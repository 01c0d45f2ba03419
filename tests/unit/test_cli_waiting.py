"""Waiting for instances: what counts as the end of it, and what is told on the way."""

import os

import pytest

from ollama_fleet.cli.holder import holder_of, pid_in
from ollama_fleet.cli.waiting import Late, until_settled
from ollama_fleet.fleet.hold import hold


class _Snapshots:
    """A fleet that answers with one snapshot after another."""

    def __init__(self, *rounds):
        self.rounds = list(rounds)

    def status(self):
        return {"instances": self.rounds.pop(0)}


def _instance(name, phase, cause="", *, external=False):
    return {
        "name": name, "phase": phase, "health": "healthy", "cause": cause, "external": external,
    }  # fmt: skip


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _seconds: None)


def test_waiting_ends_when_all_are_ready_or_failed():
    """The last snapshot comes back; each change on the way is told once, with its cause."""
    told = []
    settled = [_instance("a", "ready"), _instance("b", "failed", "no\x1b[2Jpe")]
    fleet = _Snapshots(
        [_instance("a", "stopped"), _instance("b", "stopped")],
        [_instance("a", "starting"), _instance("b", "starting")],
        [_instance("a", "ready"), _instance("b", "starting")],
        settled,
    )
    assert until_settled(fleet, None, told.append) == {"instances": settled}
    assert fleet.rounds == []
    assert told == ["a: starting", "b: starting", "a: ready", "b: failed (nope)"]


def test_only_those_that_are_ours_are_waited_for():
    """Servers that someone else runs do not matter."""
    snapshot = [_instance("a", "ready"), _instance("c", "stopped", external=True)]
    assert until_settled(_Snapshots(snapshot), None, lambda _line: None)


def test_whoever_is_late_is_named():
    """When the time is up the error names those that are neither ready nor failed."""
    snapshot = [_instance("a", "ready"), _instance("b", "starting"), _instance("c", "failed")]
    with pytest.raises(Late) as late:
        until_settled(_Snapshots(snapshot), 0.0, lambda _line: None)
    assert late.value.reason == "not ready in time: b"
    assert late.value.exit_code == 124


def test_a_pid_in_the_lock_file_counts_only_while_the_lock_is_held(tmp_path):
    """A fleet that was killed leaves its pid, which may live on as another process."""
    lock = tmp_path / "lock"
    assert (holder_of(lock), pid_in(lock)) == (0, 0)
    with hold(lock):
        assert holder_of(lock) == pid_in(lock) == os.getpid()
    assert holder_of(lock) == 0
    lock.write_text(f"{os.getpid()}\n")
    assert (holder_of(lock), pid_in(lock)) == (0, os.getpid())


def test_looking_who_holds_the_lock_leaves_it_free(tmp_path):
    """A fleet can start after it was asked whether one runs."""
    lock = tmp_path / "lock"
    lock.write_text(f"{os.getpid()}\n")
    assert holder_of(lock) == 0
    with hold(lock):
        assert holder_of(lock) == os.getpid()
