"""`fleet list`: what people see of which models are where, at the width that they have."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import pytest
from click import unstyle
from fleet_fixtures import hold, resident, spec, stored
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.cli.models import show, show_age, show_size
from ollama_fleet.cli.table import breadth
from ollama_fleet.names import canonical
from ollama_fleet.placement import Placement
from ollama_fleet.state import Phase, Pull, State, Want
from ollama_fleet.state.models import Flaw, Shelf, Shelves, models

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
NOTHING_READ = Shelves()
DIGEST, OTHER = "0123456789ab" + "c" * 52, "ba9876543210" + "c" * 52


def model(name, *, digest=DIGEST, size=4_700_000_000, age_days=3):
    row = {"name": name, "modified_at": f"2026-11-{21 - age_days:02}T11:59:59.123456789Z"}
    return replace(stored(name), digest=digest, size_bytes=size, row=row)


def a_fleet(instances, *held, stores=()):
    """So many ready instances, all with the models; those of `stores` have stores of their own."""
    names = [f"gpu{n}" for n in range(instances)]
    specs = [spec(n, store="/own" if n in stores else "/store") for n in names]
    state = State(Placement(tuple(specs)))
    for instance in state.instances.values():
        state.set_phase(instance, Phase.READY, 0.0)
        state.set_stored(instance, held)
    return state


def put_in_memory(state, instance, name, *, on_gpu):
    size = 6_000_000_000
    row = replace(resident(name), size_bytes=size, vram_bytes=round(size * on_gpu))
    state.set_resident(state.instances[instance], [row])


def shown(state, *, width=None, wide=False, on_disk=NOTHING_READ):
    """What is made of it as it comes over the socket."""
    document = json.loads(msgspec.json.encode(models(state, (), on_disk)))
    return unstyle(show(document, now_s=NOW.timestamp(), width=width, wide=wide))


def mixed():
    """Four instances with a model in each of its states, of which one is being downloaded."""
    llama = model("llama3.2:latest", size=2_000_000_000)
    state = a_fleet(4, llama, model("qwen3:8b", digest=OTHER, age_days=20))
    state.on_want.append(lambda _want: None)
    put_in_memory(state, "gpu0", "llama3.2:latest", on_gpu=1.0)
    put_in_memory(state, "gpu1", "llama3.2:latest", on_gpu=0.5)
    put_in_memory(state, "gpu2", "llama3.2:latest", on_gpu=0.0)
    last = state.instances["gpu3"]
    key = canonical("qwen3:8b")
    state.want(Want(last, last.residency(key), "qwen3:8b", "/api/generate", ()))
    state.pulls[canonical("phi4")] = Pull("phi4", "gpu0", "pulling", 450, 1000)
    return state


AT_200 = """\
NAME             ID              SIZE  MODIFIED     gpu0      gpu1      gpu2      gpu3
llama3.2:latest  0123456789ab  2.0 GB  3 days ago   gpu       gpu 50%   cpu       disk
phi4:latest      -                  -  -            part 45%  part 45%  part 45%  part 45%
qwen3:8b         ba9876543210  4.7 GB  2 weeks ago  disk      disk      disk      loading"""

AT_80 = """\
NAME               SIZE  MODIFIED     WHERE
llama3.2:latest  2.0 GB  3 days ago   1 gpu, 1 gpu+cpu, 1 cpu, 1 disk
phi4:latest           -  -            4 partial
qwen3:8b         4.7 GB  2 weeks ago  1 loading, 3 disk"""


def test_each_instance_has_a_column_where_there_is_room():
    assert shown(mixed(), width=200) == AT_200
    assert shown(mixed()) == AT_200, "a file has room for all"


def test_on_a_narrow_terminal_instances_are_counted():
    assert shown(mixed(), width=80) == AT_80


def test_one_instance_needs_no_counting():
    state = a_fleet(1, model("qwen3:8b"))
    assert shown(state, width=80) == (
        "NAME      ID              SIZE  MODIFIED    gpu0\n"
        "qwen3:8b  0123456789ab  4.7 GB  3 days ago  disk"
    )


@pytest.mark.parametrize("width", [80, 200])
def test_sixteen_instances_fit(width):
    state = a_fleet(16, model("qwen3-coder:30b-a3b-q4"), model("m"))
    put_in_memory(state, "gpu7", "m", on_gpu=1.0)
    hold_nothing = state.instances["gpu3"]
    state.set_stored(hold_nothing, [])
    table = shown(state, width=width)
    assert breadth(table) <= width
    assert ("1 gpu, 14 disk, 1 absent" in table) == (width == 80)


def test_wide_shows_each_instance_its_memory_and_its_store_at_any_width():
    state = a_fleet(3, model("m"), stores=["gpu1"])
    put_in_memory(state, "gpu0", "m", on_gpu=1.0)
    lines = shown(state, width=20, wide=True).splitlines()
    assert lines[0].split() == ["NAME", "ID", "SIZE", "MODIFIED", "gpu0", "gpu1", "gpu2"]
    assert "gpu 6.0 GB  disk  disk" in lines[1]
    assert lines[2:] == ["store /own: gpu1", "store /store: gpu0, gpu2"]


def test_one_name_for_two_models_is_explained():
    """A row for each digest, and who has which."""
    state = a_fleet(3, model("m:1"), stores=["gpu2"])
    state.set_stored(state.instances["gpu2"], [model("m:1", digest=OTHER)])
    lines = shown(state, width=200).splitlines()
    assert [line.split()[:2] for line in lines[1:3]] == [["m:1", DIGEST[:12]], ["m:1", OTHER[:12]]]
    told = "conflict: m:1 is 0123456789ab on gpu0, gpu1 but ba9876543210 on gpu2: either may answer"
    hint = "`fleet sync --from gpu0 m:1` makes all have what gpu0 has"
    assert lines[3:] == [f"{told} requests for it; {hint}"]


def test_what_was_removed_and_is_still_in_memory_is_told():
    state = a_fleet(2, model("m:1"))
    row = {**resident("m:1").row, "digest": DIGEST}
    state.set_resident(state.instances["gpu1"], [replace(resident("m:1"), row=row)])
    for instance in state.instances.values():
        state.set_stored(instance, [])
    assert shown(state).splitlines()[-1] == "removed: m:1 is still in memory of gpu1"


def test_damage_is_named_and_so_is_what_cannot_be_read():
    state = a_fleet(3, model("m"), stores=["gpu2"])
    on_disk = Shelves(
        (Shelf("/store", unreadable=("/store/blobs: Permission denied",)),),
        {"/store": {canonical("m"): Flaw("blob 12ab is missing")}},
    )
    lines = shown(state, on_disk=on_disk).splitlines()
    assert lines[1].split()[-3:] == ["damaged", "damaged", "disk"]
    assert lines[2:] == [
        "damaged: m on gpu0, gpu1: blob 12ab is missing; `fleet sync m` mends it",
        "cannot be read: /store/blobs: Permission denied",
    ]


def test_wide_tells_the_room_on_each_disk():
    for partials, told in ((3, ", 3 blobs not complete"), (1, ", 1 blob not complete"), (0, "")):
        on_disk = Shelves((Shelf("/store", free_bytes=2 * 10**12, partials=partials),))
        last = shown(a_fleet(2, model("m")), wide=True, on_disk=on_disk).splitlines()[-1]
        assert last == f"store /store (2.0 TB free{told}): gpu0, gpu1"


def test_wide_tells_what_could_be_pruned():
    on_disk = Shelves((Shelf("/store", free_bytes=2 * 10**12, prunable_bytes=47 * 10**8),))
    last = shown(a_fleet(1, model("m")), wide=True, on_disk=on_disk).splitlines()[-1]
    assert last == "store /store (2.0 TB free, `fleet prune` removes 4.7 GB): gpu0"


def test_what_is_not_known_is_not_called_absent():
    state = a_fleet(1, model("m"))
    more = State(Placement((spec("gpu0"), spec("down"))))
    more.set_phase(more.instances["gpu0"], Phase.READY, 0.0)
    hold(more, more.instances["gpu0"], "m")
    assert shown(more).splitlines()[1].split()[-1] == "?"
    assert "1 disk, 1 unknown" in shown(more, width=36)
    assert "?" not in shown(state)


def test_a_stub_of_a_model_that_runs_elsewhere_is_remote_and_has_no_size():
    stub = model("big:cloud", size=300)
    stub.row["remote_host"] = "https://ollama.com"
    name, _, size, *_, cell = shown(a_fleet(1, stub)).splitlines()[1].split()
    assert (name, size, cell) == ("big:cloud", "-", "remote")


def test_what_is_left_out_is_counted():
    state = a_fleet(1, *(model(f"m{n}") for n in range(5)))
    document = json.loads(msgspec.json.encode(models(state, limit=2)))
    assert show(document, now_s=0.0, width=None).splitlines()[-1].startswith("and 3 more; ")


@given(st.text(), st.integers(20, 300))
def test_no_name_drives_the_terminal(name, width):
    """Whatever a model is called, its row is a line of printable characters."""
    state = a_fleet(2, model(name))
    lines = shown(state, width=width).split("\n")
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1_500, "1.5 kB"), (45_960_996, "46 MB"),
     (2_019_393_189, "2.0 GB"), (43_000_000_000, "43 GB"), (1_300_000_000_000, "1.3 TB")],
)  # fmt: skip
def test_sizes_are_decimal_as_in_ollamas_list(count, text):
    assert show_size(count) == text


@pytest.mark.parametrize(
    ("age_s", "text"),
    [(-5, "0 s ago"), (59, "59 s ago"), (90, "1 min ago"), (47 * 3600, "47 h ago"),
     (3 * 86400, "3 days ago"), (15 * 86400, "2 weeks ago"), (70 * 86400, "2 months ago"),
     (800 * 86400, "2 years ago")],
)  # fmt: skip
def test_times_are_told_by_their_age(age_s, text):
    stamp = datetime.fromtimestamp(NOW.timestamp() - age_s, UTC).isoformat()
    assert show_age(stamp, NOW.timestamp()) == text
    assert show_age("never", NOW.timestamp()) == ""
