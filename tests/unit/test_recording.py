import re

from fleet_fixtures import fleet
from made_records import Clock, made
from snapshot_fixtures import fleet as snapshot

from ollama_fleet.config import Config
from ollama_fleet.fleet.recording import Recording
from ollama_fleet.history import recent


def recording(path, *, metrics=None, **keys):
    config = Config(history=keys, metrics=metrics or {})
    state, later = fleet("gpu0", models=("qwen3:8b",)), []
    one = Recording(
        state,
        path,
        config,
        clock=Clock(),
        wall=Clock(),
        later=lambda _seconds, call: later.append(call),
    )
    one.soon = later
    return one


class Made:
    """A request that has ended."""

    def __init__(self, **changes):
        self.changes = changes

    def record(self, _drawn_j):
        return made(**self.changes)


def counted(made_by):
    page = "".join(made_by.metrics.page(snapshot(1)).pieces)
    return re.findall(r"(?m)^ollama_fleet_requests_total(.*)$", page)


def test_a_request_that_ended_is_counted_and_kept(tmp_path):
    one = recording(tmp_path / "h.db")
    one.ended(Made(id="r1"))
    assert counted(one) == [], "not among running streams"
    for call in one.soon:
        call()
    assert counted(one) == ['{route="/api/chat",model="qwen3:8b",outcome="completed"} 1']
    one.close()
    assert recent(one.path, 10) == (made(id="r1"),)


def test_a_model_that_no_store_has_is_counted_without_its_name(tmp_path):
    one = recording(tmp_path / "h.db")
    one.ended(Made(key="registry.ollama.ai/library/secret:8b"))
    one.close()
    assert counted(one) == ['{route="/api/chat",model="other",outcome="completed"} 1']


def test_a_fleet_that_keeps_none_counts_and_touches_no_file(tmp_path):
    one = recording(tmp_path / "h.db", max_requests=0)
    one.ended(Made())
    one.close()
    assert len(counted(one)) == 1
    assert one.path is None
    assert list(tmp_path.iterdir()) == []
