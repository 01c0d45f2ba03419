"""What control and the router tell state becomes events, each change one."""

from dataclasses import replace

import pytest
from fleet_fixtures import fleet, spec
from fleet_fixtures import resident as in_memory
from made_records import Clock

from ollama_fleet.control.events import Reporter
from ollama_fleet.control.events.disks import LOW_BYTES, DiskWatch, folders, read_free
from ollama_fleet.control.events.gpus import GpuWatch
from ollama_fleet.control.events.refusals import QUIET_S, Bursts
from ollama_fleet.errors import UpstreamFailed
from ollama_fleet.gpu import Gpu, GpuReading, GpuSample, Vendor
from ollama_fleet.placement import Placement
from ollama_fleet.state import Health, Kind, Notice, Phase, Residency, State, Want

CARD = Gpu("GPU-a", 0, "Card", Vendor.NVIDIA, 2**33)
GIB = 2**30


class Told:
    """A fleet whose events are kept account of."""

    def __init__(self, state, gpus=()):
        self.state, self.clock = state, Clock(100.0)
        self.reporter = Reporter(state, gpus, clock=self.clock, wall=Clock(5_000.0))
        self.reporter.__enter__()
        self._seen = 0

    def new(self):
        """What has been told since the last look: kinds, what they are about, texts."""
        events = [*self.state.events.after(self._seen)]
        self._seen = self.state.events.last
        return [(str(e.kind), e.instance or e.gpu, e.model, e.text) for e in events]

    def kinds(self):
        return [kind for kind, *_ in self.new()]


def told(**more):
    one = replace(spec("a"), **more)
    state = State(Placement((one,), {}))
    return Told(state), state.instances["a"]


def test_a_life_is_told_phase_by_phase_with_causes_and_how_long_the_start_took():
    fleet_, a = told()
    state, clock = fleet_.state, fleet_.clock
    state.set_phase(a, Phase.STARTING, 100.0)
    a.starts = 1
    clock.now_s = 102.5
    state.set_phase(a, Phase.READY, 102.5)
    state.set_phase(a, Phase.STOPPING, 110.0, "was killed by SIGKILL")
    state.set_phase(a, Phase.BACKOFF, 110.0, "was killed by SIGKILL")
    state.set_phase(a, Phase.STARTING, 111.0)
    state.set_phase(a, Phase.FAILED, 112.0, "its port is taken")
    assert fleet_.new() == [
        ("instance_starting", "a", "", "is starting"),
        ("instance_ready", "a", "", "is ready after 2.5 s"),
        ("instance_exited", "a", "", "was killed by SIGKILL"),
        ("instance_backoff", "a", "", "is started again after a pause: was killed by SIGKILL"),
        ("instance_starting", "a", "", "is starting for the 2nd time"),
        ("instance_failed", "a", "", "is given up: its port is taken"),
    ]


def test_a_restart_that_was_asked_for_is_no_exit():
    fleet_, a = told()
    for phase in (Phase.DRAINING, Phase.STOPPING, Phase.STOPPED):
        fleet_.state.set_phase(a, phase, 1.0)
    assert fleet_.kinds() == ["instance_draining", "instance_stopped"]


def test_weights_that_were_replaced_under_their_name_go_and_the_new_ones_come():
    """Be it at once, or that both are in memory for a while."""
    fleet_, a = told()
    old = in_memory("m")
    new = replace(old, row={**old.row, "digest": "d-new"})
    fleet_.state.set_resident(a, [old])
    assert fleet_.kinds() == ["model_loaded"]
    fleet_.state.set_resident(a, [new])
    assert sorted(fleet_.kinds()) == ["model_evicted", "model_loaded"]
    fleet_.state.set_resident(a, [new, old])
    assert fleet_.kinds() == ["model_loaded"]
    fleet_.state.set_resident(a, [new])
    assert fleet_.kinds() == ["model_unloaded"]


def test_silence_and_the_first_answer_after_it_are_told_and_the_first_of_a_start_is_not():
    fleet_, a = told()
    state = fleet_.state
    state.set_phase(a, Phase.READY, 1.0)
    fleet_.new()
    for health in (Health.HEALTHY, Health.UNHEALTHY, Health.UNHEALTHY, Health.HEALTHY):
        state.set_health(a, health, "timed out")
    assert fleet_.kinds() == ["instance_unhealthy", "instance_readmitted"]


def test_an_external_instance_is_silent_and_answers_again():
    fleet_, a = told(external=True)
    state = fleet_.state
    for phase in (Phase.STARTING, Phase.READY, Phase.BACKOFF, Phase.READY):
        state.set_phase(a, phase, 1.0, "refused" if phase is Phase.BACKOFF else "")
    assert fleet_.kinds() == ["instance_ready", "instance_unhealthy", "instance_readmitted"]


def test_what_comes_and_goes_is_told_and_what_had_to_make_room_was_evicted():
    fleet_, a = told()
    state = fleet_.state
    early = replace(in_memory("x"), expires_s=5_300.0)
    state.set_resident(a, [early])
    state.set_resident(a, [early])
    state.set_resident(a, [in_memory("y")])
    state.set_resident(a, [])
    assert [line[:3] for line in fleet_.new()] == [
        ("model_loaded", "a", "x"),
        ("model_evicted", "a", "x"),
        ("model_loaded", "a", "y"),
        ("model_unloaded", "a", "y"),
    ]


def test_what_goes_in_its_time_was_not_evicted_whatever_comes():
    fleet_, a = told()
    state = fleet_.state
    state.set_resident(a, [replace(in_memory("x"), expires_s=5_001.0)])
    state.set_resident(a, [in_memory("y")])
    assert fleet_.kinds() == ["model_loaded", "model_unloaded", "model_loaded"]


@pytest.mark.parametrize(
    ("vram", "gpus", "kinds"),
    [
        (0, (CARD,), ["model_loaded", "cpu_fallback"]),
        (GIB, (CARD,), ["model_loaded", "partial_offload"]),
        (2 * GIB, (CARD,), ["model_loaded"]),
        (0, (), ["model_loaded"]),
    ],
)
def test_a_model_that_is_not_all_on_the_gpu_of_an_instance_that_has_one_is_told(vram, gpus, kinds):
    fleet_, a = told(gpus=gpus)
    fleet_.state.set_resident(a, [replace(in_memory("x"), size_bytes=2 * GIB, vram_bytes=vram)])
    assert fleet_.kinds() == kinds


def test_a_load_that_the_instance_failed_is_told_and_one_that_the_request_failed_is_not():
    fleet_, a = told()
    want = Want(a, Residency("d-m"), "m", "/api/generate", ())
    fleet_.state.not_loaded(want, UpstreamFailed("no memory"))
    fleet_.state.not_loaded(want, None)
    fleet_.state.loaded(want)
    assert fleet_.new() == [("model_load_failed", "a", "m", "could not be loaded: no memory")]


def test_who_keeps_account_no_longer_is_told_nothing():
    fleet_, a = told()
    fleet_.reporter.__exit__(None, None, None)
    fleet_.state.set_phase(a, Phase.FAILED, 1.0)
    fleet_.state.notice(Notice(kind=Kind.PULL_STARTED, text="t"))
    assert fleet_.new() == []


def test_a_line_of_log_has_what_an_event_has(caplog):
    caplog.set_level("INFO")
    Told(fleet()).state.notice(Notice(kind=Kind.GPU_HOT, text="hot", gpu="u", figures={"c": 9}))
    (line,) = caplog.records
    assert (line.levelname, line.getMessage()) == ("WARNING", "hot")
    assert (line.kind, line.gpu, line.c) == ("gpu_hot", "u", 9)
    assert not hasattr(line, "instance")


# -- GPUs ------------------------------------------------------------------------------------------


def looks(*samples):
    watch = GpuWatch([Gpu("a", 0, "card", Vendor.NVIDIA, 1)])
    return [[str(n.kind) for n in watch.look(sample)] for sample in samples]


def reading(celsius=50.0, *, slowed=None):
    return GpuSample((GpuReading("a", 1, 0.5, celsius, 100.0, slowed),))


LOST = GpuSample((GpuReading("a"),), "GPU 0 is lost")


def test_a_card_is_lost_after_two_silences_and_back_with_its_next_reading():
    assert looks(LOST, LOST, reading(), LOST, reading(), LOST, GpuSample(error="x"), LOST) == [
        [], [], [], [], [], [], ["gpu_lost"], [],
    ]  # fmt: skip
    assert looks(reading(), LOST, LOST, reading()) == [[], [], ["gpu_lost"], ["gpu_back"]]


def test_a_card_is_hot_when_the_driver_slows_it_down_however_cool_it_reads():
    told = looks(
        reading(95.0, slowed=False), reading(85.0, slowed=True), reading(85.0, slowed=False)
    )
    assert told == [[], ["gpu_hot"], ["gpu_cool"]]


def test_where_the_driver_does_not_say_its_temperature_decides_and_does_not_flutter():
    told = looks(*map(reading, (89.0, 90.0, 95.0, 89.0, 90.0, 85.0, 89.0)))
    assert told == [[], ["gpu_hot"], [], [], [], ["gpu_cool"], []]


def test_that_a_card_is_hot_is_told_once_for_all_its_slices():
    """But a slice that is lost is lost by itself."""
    slices = [
        Gpu(uuid, 1 + n, "part", Vendor.NVIDIA, 1, parent_uuid="c") for n, uuid in enumerate("ab")
    ]
    watch = GpuWatch(slices)

    def look(*uuids):
        sample = GpuSample(tuple(GpuReading(uuid, 1, None, 95.0) for uuid in uuids))
        return [(str(notice.kind), notice.text.partition(":")[0]) for notice in watch.look(sample)]

    assert look("a", "b") == [("gpu_hot", "the card of GPUs 1, 2 is hot")]
    assert look("a") + look("a") == [("gpu_lost", "GPU 2 gives no readings")]


def test_that_a_card_is_divided_otherwise_is_told_once_it_stands_and_so_is_its_end():
    """Of a card, too, that is none of the fleet's GPUs, because its slices are."""
    watch = GpuWatch([])

    def look(*changes):
        samples = [GpuSample((GpuReading("c", 1, changed=change),)) for change in changes]
        return [(str(n.kind), n.gpu, n.text) for s in samples for n in watch.look(s)]

    assert look("", "", "one", "two", "") == []
    assert look("one", "one", "one") == [("gpu_changed", "c", "one")]
    assert look("two", "one", "two", "two") == [("gpu_changed", "c", "two")]
    (end,) = look("", "", "")
    assert end[:2] == ("gpu_restored", "c")


# -- disks -----------------------------------------------------------------------------------------


def test_a_disk_is_low_once_and_enough_once():
    watch = DiskWatch()
    levels = (LOW_BYTES, LOW_BYTES - 1, 0, LOW_BYTES, 2 * LOW_BYTES, LOW_BYTES)
    told = [[str(n.kind) for n in watch.look({1: ("/s", free)})] for free in levels]
    assert told == [[], ["disk_low"], [], [], ["disk_recovered"], []]


def test_each_disk_is_asked_once_and_a_folder_that_is_not_there_yet_is_on_its_parents(tmp_path):
    state = fleet("a", "b")
    paths = folders(state, tmp_path, tmp_path / "not" / "yet")
    assert paths == ("/store", str(tmp_path), str(tmp_path / "not" / "yet"))
    free = read_free(paths[1:])
    assert list(free) == [tmp_path.stat().st_dev]
    assert free[tmp_path.stat().st_dev][1] > 0


def test_a_folder_that_cannot_be_looked_at_keeps_no_other_from_being_read(tmp_path):
    assert [folder for folder, _ in read_free(["/" + "x" * 300, str(tmp_path)]).values()] == [
        str(tmp_path)
    ]


# -- refusals --------------------------------------------------------------------------------------


def test_a_burst_of_refusals_is_two_events_with_the_count_of_each_reason():
    bursts = Bursts()

    def refused(error, now_s):
        return [n.kind for n in bursts.refused(error, "m", now_s)]

    assert refused("QueueFull: full", 0.0) == [Kind.REQUESTS_REFUSED]
    assert refused("QueueFull: full", 1.0) == []
    assert refused("QueueTimeout: late", 7.0) == []
    assert refused("StreamBroken: cut", 12.0) == [], "that is the instance's doing"
    assert [*bursts.over(7.0 + QUIET_S - 0.1)] == []
    (over,) = bursts.over(7.0 + QUIET_S)
    assert over.kind is Kind.REFUSALS_OVER
    assert over.figures == {"requests": 3, "lasted_s": 7.0, "QueueFull": 2, "QueueTimeout": 1}
    assert [*bursts.over(100.0)] == []
    assert refused("QueueFull: full", 101.0) == [Kind.REQUESTS_REFUSED]
