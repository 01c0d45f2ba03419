"""What has to happen for one fleet to become another."""

from dataclasses import replace
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.gpu import Gpu, Vendor
from ollama_fleet.placement import InstanceSpec
from ollama_fleet.placement.changes import Changes, Move, batches, between, changes, settle

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


def sharing(one, other):
    return one is not None and other is not None and bool(set(one.gpus) & set(other.gpus))


@given(fleets, fleets)
def test_nobody_starts_on_a_gpu_or_a_port_that_another_still_has(now, wanted):
    """But for those who share a GPU already and go on with that."""
    made = changes(now, wanted)
    moves = [move for batch in batches(made) for move in batch]
    here = {move.old.name: move for move in moves if move.old}
    for batch in batches(made):
        for move in batch:
            if move.old:
                del here[move.old.name]
        for new, was in ((move.new, move.old) for move in batch if move.new):
            for other in here.values():
                if not (new.external or other.old.external):
                    assert other.old.port != new.port
                    if not (sharing(was, other.old) and sharing(new, other.new)):
                        assert not sharing(new, other.old)
    assert {m.new.name for m in moves if m.new and not m.old} == {s.name for s in made.added}
    assert {m.old.name for m in moves if not m.new} == {s.name for s in made.removed}
    assert {m.new.name for m in moves if m.new and m.old} == {r.new.name for r in made.renewed}
    assert len(moves) == len(made.added) + len(made.removed) + len(made.renewed)


def order(now, wanted):
    """Who goes and who comes, batch by batch."""
    return [
        [(m.old and m.old.name, m.new and m.new.name) for m in batch]
        for batch in batches(changes(now, wanted))
    ]


def test_those_that_are_in_nobodys_way_are_renewed_one_by_one():
    old = [spec(name, port=n) for n, name in enumerate("abc", start=1)]
    new = [replace(s, environment={"X": "1"}) for s in old]
    assert order(old, new) == [[(name, name)] for name in "abc"]


def test_those_that_share_a_gpu_and_go_on_with_that_are_renewed_one_by_one():
    old = [spec(name, gpus=GPUS[:1], port=n) for n, name in enumerate("ab", start=1)]
    new = [replace(s, environment={"X": "1"}) for s in old]
    assert order(old, new) == [[("a", "a")], [("b", "b")]]


def test_whoever_takes_anothers_gpu_comes_before_the_next_one_goes():
    old = [spec(name, gpus=GPUS[n : n + 1], port=n) for n, name in enumerate("ab")]
    new = [spec(name, gpus=GPUS[n : n + 1], port=n + 2) for n, name in enumerate("xy")]
    assert order(old, new) == [[("a", None)], [(None, "x")], [("b", None)], [(None, "y")]]


def test_whoever_can_come_does_so_first_and_whoever_only_goes_goes_last():
    a, b, c = (spec(name, port=n) for n, name in enumerate("abc"))
    changed = replace(b, environment={"X": "1"})
    assert order([a, b], [changed, c]) == [[(None, "c")], [("b", "b")], [("a", None)]]


def test_whoever_is_named_is_started_anew_though_nothing_is_different():
    a, b = spec("a", port=1), spec("b", port=2)
    assert [r.new.name for r in changes([a, b], [a, b], anew={"b"}).renewed] == ["b"]


def test_two_that_swap_their_gpus_are_stopped_together():
    a, b = spec("a", gpus=GPUS[:1], port=1), spec("b", gpus=GPUS[1:2], port=2)
    swapped = [replace(a, gpus=b.gpus), replace(b, gpus=a.gpus)]
    made = changes([a, b], swapped)
    assert list(batches(made)) == [(Move(a, swapped[0]), Move(b, swapped[1]))]


def test_ports_move_up_one_after_another_from_the_far_end():
    old = [spec(name, port=n) for n, name in enumerate("abc", start=1)]
    new = [spec(name, port=n) for n, name in enumerate("abc", start=2)]
    assert order(old, new) == [[(name, name)] for name in "cba"]


def test_while_changes_are_made_a_model_is_bound_to_whom_it_was_or_will_be_bound():
    now = {"m": frozenset("a"), "gone": frozenset("a")}
    wanted = {"m": frozenset("x"), "new": frozenset("x")}
    assert between(now, wanted) == {"m": frozenset("ax")}


def test_an_instance_keeps_its_port_and_a_new_one_has_one_that_is_drawn():
    wanted = [spec("a", port=7), spec("b", port=8), external("x")]
    kept = settle(wanted, {"a": 70}, count(100))
    assert [s.port for s in kept] == [70, 100, 11434]
    assert [s.environment.get("OLLAMA_HOST") for s in kept] == [
        "127.0.0.1:70", "127.0.0.1:100", None,
    ]  # fmt: skip
