import re
from dataclasses import replace

from fleet_fixtures import fleet, spec
from made_records import Clock, made
from snapshot_fixtures import fleet as snapshot

from ollama_fleet.config import Config
from ollama_fleet.fleet.recording import Recording
from ollama_fleet.gpu import Gpu, GpuReading, GpuSample, Vendor
from ollama_fleet.history import recent
from ollama_fleet.placement import Placement
from ollama_fleet.state import State


def recording(path, *, metrics=None, state=None, clock=None, **keys):
    config = Config(history=keys, metrics=metrics or {})
    state, later = state or fleet("gpu0", models=("qwen3:8b",)), []
    one = Recording(
        state,
        path,
        config,
        clock=clock or Clock(),
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


def test_a_request_that_cannot_be_recorded_costs_no_other_its_record(tmp_path, caplog):
    class Odd:
        def record(self, _drawn_j):
            raise ZeroDivisionError

    one = recording(tmp_path / "h.db")
    for request in (Made(id="r1"), Odd(), Made(id="r2")):
        one.ended(request)
    one.close()
    assert [record.id for record in recent(one.path, 10)] == ["r2", "r1"]
    assert [record.getMessage() for record in caplog.records if record.exc_info] == [
        "what has ended is not recorded in full"
    ]


def test_a_request_that_cannot_be_counted_is_kept_all_the_same(tmp_path, monkeypatch):
    one = recording(tmp_path / "h.db")
    monkeypatch.setattr(one.metrics, "observe", lambda _record: 1 / 0)
    one.ended(Made(id="r1"))
    one.close()
    assert [record.id for record in recent(one.path, 10)] == ["r1"]


def test_a_model_that_no_store_has_is_counted_without_its_name(tmp_path):
    one = recording(tmp_path / "h.db")
    one.ended(Made(key="registry.ollama.ai/library/secret:8b"))
    one.close()
    assert counted(one) == ['{route="/api/chat",model="other",outcome="completed"} 1']


def test_what_its_instance_drew_is_known_when_a_record_is_made(tmp_path):
    """From what the state is told of the GPUs, whoever reads them."""

    class Asks:
        def record(self, drawn_j):
            seen.append(drawn_j("gpu0", 1_000.5, 1_001.5))
            return made()

    seen = []
    gpu = Gpu("a", 0, "some GPU", Vendor.NVIDIA, 24 * 2**30)
    state = State(Placement((replace(spec("gpu0"), gpus=(gpu,)),)))
    clock = Clock()
    one = recording(tmp_path / "h.db", state=state, clock=clock)
    for _ in range(3):
        state.set_gpus(GpuSample((GpuReading("a", power_w=200.0),)))
        clock.now_s += 1.0
    one.ended(Asks())
    one.close()
    assert seen == [200.0]


def test_the_slices_of_a_card_draw_its_power_together(tmp_path):
    """The driver tells it of the card alone; idle, each has an equal part of it."""

    class Asks:
        def record(self, drawn_j):
            seen.extend(drawn_j(name, 1_000.5, 1_001.5) for name in ("gpu0", "gpu1"))
            return made()

    seen = []
    parts = [Gpu(u, 1, "part", Vendor.NVIDIA, 2**30, parent_uuid="card") for u in ("a", "b")]
    specs = (replace(spec(f"gpu{n}"), gpus=(part,)) for n, part in enumerate(parts))
    state, clock = State(Placement(tuple(specs))), Clock()
    one = recording(tmp_path / "h.db", state=state, clock=clock)
    for _ in range(3):
        state.set_gpus(GpuSample((GpuReading("card", power_w=200.0), GpuReading("a"))))
        clock.now_s += 1.0
    one.ended(Asks())
    one.close()
    assert seen == [100.0, 100.0]


def test_a_fleet_that_keeps_none_counts_and_touches_no_file(tmp_path):
    one = recording(tmp_path / "h.db", max_requests=0)
    one.ended(Made())
    one.close()
    assert len(counted(one)) == 1
    assert one.path is None
    assert list(tmp_path.iterdir()) == []
