"""`fleet status`: what it makes of a snapshot as it comes over the socket."""

import json
from dataclasses import replace

import msgspec
import pytest
from click import unstyle
from fleet_fixtures import fleet

from ollama_fleet.cli import snapshots
from ollama_fleet.cli.commands.status import show
from ollama_fleet.gpu import Gpu, GpuReading, GpuSample, Vendor
from ollama_fleet.names import canonical
from ollama_fleet.ollama import resident_models
from ollama_fleet.state import Ejection, FleetFacts, Health, Phase, snapshot

GPU = Gpu("GPU-1", 7, "Card", Vendor.NVIDIA, 2**30)
FACTS = FleetFacts(
    version="1",
    listen="127.0.0.1:11434",
    strategy="least_conn",
    simulated=True,
    started_s=10.0,
    gpus=(GPU,),
    notes=("a note", "a note"),
)

NOW_S = 75.0


def _document(state):
    """A snapshot as the control API answers it."""
    return json.loads(msgspec.json.encode(snapshot(state, FACTS, NOW_S)))


def _instance(phase, health=Health.HEALTHY, cause=""):
    state = fleet("one")
    instance = state.instances["one"]
    state.set_phase(instance, phase, 0.0)
    instance.health, instance.cause = health, cause
    instance.log_tail = ("first", "\x1b[31mlast\x1b[0m")
    return _document(state)["instances"][0]


def test_the_table_has_a_row_per_instance_behind_a_line_about_the_fleet():
    """Listen address, strategy, simulation and uptime come first, then each instance once."""
    lines = unstyle(show(_document(fleet("one", "two")), wide=False)).splitlines()
    assert lines[0] == "listening on 127.0.0.1:11434, least_conn, simulated, up 1m05s"
    assert [line.split()[0] for line in lines[1:]] == ["INSTANCE", "one", "two"]
    assert " ".join(lines[2].split()) == "one g cpu ready - 0/2 0 0 0 0 0 -"


def test_an_instance_that_is_not_up_says_why():
    """The cause of a failure stands below the table, without anything a terminal obeys."""
    state = fleet("one", "two")
    instance = state.instances["two"]
    state.set_phase(instance, Phase.FAILED, 0.0)
    instance.cause = "it\x1b[2J died\n of thirst"
    assert show(_document(state), wide=False).splitlines()[-1] == "two: it died  of thirst"


def test_one_that_was_given_up_shows_what_it_printed_last():
    state = fleet("one", "two")
    for instance, phase in zip(
        state.instances.values(), (Phase.BACKOFF, Phase.FAILED), strict=True
    ):
        state.set_phase(instance, phase, 0.0, "exited with code 1")
        instance.log_tail = ("first", "\x1b[31mlast\x1b[0m")
    shown = show(_document(state), wide=False).splitlines()
    assert shown[-4:] == [
        "one: exited with code 1",
        "two: exited with code 1",
        "    first",
        "    last",
    ]


def test_a_model_that_is_not_in_gpu_memory_is_marked_where_there_are_gpus():
    state = fleet("one", "two")
    one = state.instances["one"]
    one.spec = replace(one.spec, gpus=(GPU,))
    sizes = {"whole": 8, "part": 6, "none": 0}
    rows = [{"name": name, "size": 8, "size_vram": vram} for name, vram in sizes.items()]
    for instance in state.instances.values():
        state.set_resident(instance, resident_models({"models": rows}))
    lines = unstyle(show(_document(state), wide=False)).splitlines()
    assert "whole,part (gpu 75%),none (cpu)" in lines[2]
    assert "whole,part,none" in lines[3]


def test_an_instance_that_is_ejected_is_in_trouble_and_says_for_how_long():
    state = fleet("one", "two")
    state.rotation.eject(state.instances["two"], Ejection("refused\x1b[2J", NOW_S + 5.0))
    document = _document(state)
    ejected = document["instances"][1]
    assert snapshots.state_of(ejected) == "ejected"
    assert snapshots.is_troubled(ejected)
    assert not snapshots.is_troubled(document["instances"][0])
    last = unstyle(show(document, wide=False)).splitlines()[-1]
    assert last == "two has failed requests and gets none for 5s: refused"


def test_a_model_that_is_being_reloaded_is_told_with_its_instance():
    state = fleet("one", "two")
    state.set_reloading(state.instances["two"], canonical("m"), under_way=True)
    last = show(_document(state), wide=False).splitlines()[-1]
    assert last == "reloading m on two: its weights were replaced"


def test_wide_adds_columns_and_notes_and_takes_none_away():
    """`-o wide` begins as the table does; a note that was made twice is told once."""
    document = _document(fleet("one"))
    narrow, wide = (show(document, wide=wide).splitlines() for wide in (False, True))
    assert all(w.startswith(n) for n, w in zip(narrow, wide, strict=False))
    assert wide[1].split()[-5:] == ["FOR", "OLLAMA", "URL", "STORED", "CPUS"]
    assert wide[len(narrow) :] == ["a note"]


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("health", Health)
def test_an_instance_is_ready_or_troubled_or_on_its_way(phase, health):
    """Being ready and being in trouble exclude each other; who has failed is in trouble."""
    instance = _instance(phase, health)
    ready, troubled = snapshots.is_ready(instance), snapshots.is_troubled(instance)
    assert not (ready and troubled)
    assert ready == (phase is Phase.READY and health is not Health.UNHEALTHY)
    assert troubled or not snapshots.is_failed(instance)
    assert (snapshots.state_of(instance) == phase.value) != (
        phase is Phase.READY and health is Health.UNHEALTHY
    )


def test_trouble_is_told_with_its_cause_and_the_last_lines():
    """Who, why, and what it wrote last, indented and clean."""
    instance = _instance(Phase.FAILED, cause="no such file")
    assert snapshots.describe_trouble(instance) == "one failed: no such file\n    first\n    last"


def test_only_the_instances_asked_for_are_meant():
    """Names choose among the instances; none chooses all."""
    document = _document(fleet("one", "two"))
    assert [i["name"] for i in snapshots.instances(document)] == ["one", "two"]
    assert [i["name"] for i in snapshots.instances(document, ["two"])] == ["two"]


def test_a_card_that_is_divided_otherwise_than_at_the_start_is_told_of():
    """To everyone, unlike the notes of the start."""
    state = fleet("one")
    state.set_gpus(GpuSample((GpuReading("GPU-1", changed="GPU 7 has\x1b[2J left MIG mode"),)))
    assert show(_document(state), wide=False).splitlines()[-1] == "GPU 7 has left MIG mode"
    state.set_gpus(GpuSample((GpuReading("GPU-1"),)))
    assert "MIG" not in show(_document(state), wide=False)
