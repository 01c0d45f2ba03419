"""What has to happen for one fleet to become another."""

from dataclasses import replace
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.gpu import Gpu, Vendor
from ollama_fleet.placement import InstanceSpec
from ollama_fleet.placement.changes import Changes, Renewal, batches, changes, settle

GPUS = tuple(Gpu(f"GPU-{n}", n, "a card", Vendor.NVIDIA, 2**33) for n in range(4))


def spec(name, *, gpus=(), port=1, weight=1.0, preload=(), **environment):
    environment = {"OLLAMA_HOST": f"127.0.0.1:{port}", **environment}
    return InstanceSpec(
        name, "g", "127.0.0.1", port, 1, "/s", gpus=gpus, environment=environment, preload=preload,
        weight=weight,
    )  # fmt: skip


def external(name, url="http://there:11434"):
    return InstanceSpec(name, "", "there", 11434, 1, url, external=True, url=url)


specs = st.builds(
    spec,
    st.sampled_from("abcde"),
    gpus=st.lists(st.sampled_from(GPUS), max_size=2, unique=True).map(tuple),
    port=st.integers(1, 4),
    weight=st.sampled_from([1.0, 2.0]),
    preload=st.sampled_from([(), ("m",)]),
    OLLAMA_KEEP_ALIVE=st.sampled_from(["1m", "2m"]),
)
fleets = st.lists(
    specs | st.builds(external, st.sampled_from("abxy"), st.sampled_from(["http://a", "http://b"])),
    unique_by=lambda s: s.name,
    max_size=4,
)


def applied(now, made: Changes):
    """The fleet after the changes, by name."""
    after = {s.name: s for s in now}
    for gone in made.removed:
        del after[gone.name]
    for renewal in made.renewed:
        assert after[renewal.old.name] == renewal.old
        after[renewal.new.name] = renewal.new
    for new in made.added:
        assert new.name not in after
        after[new.name] = new
    for altered in made.altered:
        after[altered.name] = altered
    return after


@given(fleets, fleets, st.booleans())
def test_the_changes_applied_to_what_is_give_what_is_wanted(now, wanted, program):
    made = changes(now, wanted, program=program)
    assert applied(now, made) == {s.name: s for s in wanted}


@given(fleets)
def test_what_is_there_already_changes_nothing(now):
    assert not changes(now, reversed(now))


@given(fleets, fleets)
def test_a_process_is_touched_exactly_where_it_would_see_a_difference(now, wanted):
    made = changes(now, wanted)
    before = {s.name: s for s in now}
    anew = {renewal.new.name for renewal in made.renewed}
    for new in wanted:
        if new.name in before:
            old = before[new.name]
            seen = [(s.port, s.gpus, dict(s.environment), s.external, s.url) for s in (old, new)]
            assert (new.name in anew) == (seen[0] != seen[1])


@given(fleets)
def test_another_program_is_for_every_process_of_ours(now):
    renewed = changes(now, now, program=True).renewed
    assert {r.new.name for r in renewed} == {s.name for s in now if not s.external}


@given(fleets, fleets)
def test_nobody_starts_on_a_gpu_or_a_port_that_another_still_has(now, wanted):
    made = changes(now, wanted)
    running = {r.old.name: r.old for r in made.renewed}
    seen = []
    for batch in batches(made.renewed):
        for renewal in batch:
            seen.append(renewal)
            del running[renewal.old.name]
        for renewal in batch:
            if not renewal.new.external:
                for other in (o for o in running.values() if not o.external):
                    assert other.port != renewal.new.port
                    assert not set(other.gpus) & set(renewal.new.gpus)
    assert sorted(r.new.name for r in seen) == sorted(r.new.name for r in made.renewed)


def test_those_that_are_in_nobodys_way_are_renewed_one_by_one():
    old = [spec(name, port=n) for n, name in enumerate("abc", start=1)]
    new = [replace(s, environment={"X": "1"}) for s in old]
    made = changes(old, new)
    assert [[r.new.name for r in batch] for batch in batches(made.renewed)] == [["a"], ["b"], ["c"]]


def test_two_that_swap_their_gpus_are_stopped_together():
    a, b = spec("a", gpus=GPUS[:1], port=1), spec("b", gpus=GPUS[1:2], port=2)
    swapped = [Renewal(a, replace(a, gpus=b.gpus)), Renewal(b, replace(b, gpus=a.gpus))]
    assert list(batches(swapped)) == [tuple(swapped)]


def test_ports_move_up_one_after_another_from_the_far_end():
    old = [spec(name, port=n) for n, name in enumerate("abc", start=1)]
    new = [spec(name, port=n) for n, name in enumerate("abc", start=2)]
    order = [[r.new.name for r in batch] for batch in batches(changes(old, new).renewed)]
    assert order == [["c"], ["b"], ["a"]]


def test_an_instance_keeps_its_port_and_a_new_one_has_one_that_is_drawn():
    wanted = [spec("a", port=7), spec("b", port=8), external("x")]
    kept = settle(wanted, {"a": 70}, count(100))
    assert [s.port for s in kept] == [70, 100, 11434]
    assert [s.environment.get("OLLAMA_HOST") for s in kept] == [
        "127.0.0.1:70", "127.0.0.1:100", None,
    ]  # fmt: skip
