"""What the store makes of what it is told: slots, what is in memory, who may be asked."""

import math
from dataclasses import replace

import pytest
from fleet_fixtures import fleet, hold, resident, spec, stored
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.errors import ModelMissing, UpstreamFailed
from ollama_fleet.names import canonical
from ollama_fleet.placement import Placement
from ollama_fleet.state import (
    Completed,
    Health,
    Labour,
    Phase,
    Residency,
    State,
    StoredModel,
    Want,
    Work,
)
from ollama_fleet.state.profiles import effective, guessed

M, N = canonical("m"), canonical("n")
LONG = (("num_ctx", 8192),)


def lone(**more):
    state = fleet("a", **more)
    return state, state.instances["a"]


def share(state, instance, *models, **more):
    """Give an instance models that are names of one blob."""
    state.set_stored(instance, [stored(m, blob="sha256:w", **more) for m in models])


def want_on(instance, profile=()):
    return Want(instance, instance.residency(M, profile), "m", "/api/generate", profile)


# -- two names over one blob are one residency ----------------------------------------------------


def test_two_names_over_one_blob_share_slots_and_memory():
    state, a = lone(slots=1)
    share(state, a, "m", "n")
    assert a.residency(M) == a.residency(N)
    lease = state.lease(a, M)
    assert a.full(N)
    assert a.free_of(N) == 0
    lease.release()
    assert not a.full(N)
    state.set_resident(a, [resident("m")])
    assert a.runners["sha256:w"].resident
    assert [i.name for i in state.free(N, ())] == ["a"]


def test_a_listed_name_that_is_gone_is_known_by_its_manifest():
    """Ollama goes on listing the name by which a model was loaded, when that name is deleted."""
    state, a = lone()
    state.set_resident(a, [resident("m")])
    state.set_stored(a, [StoredModel(N, "n", "d-m", 1, {}, blob="sha256:w")])
    assert a.runners["sha256:w"].resident


def test_weights_that_become_known_later_take_over_what_is_in_memory():
    state, a = lone()
    state.set_resident(a, [resident("m")])
    assert set(a.runners) == {"d-m"}
    share(state, a, "m", "n")
    assert set(a.runners) == {"sha256:w"}
    assert [i.name for i in state.free(N, ())] == ["a"]


def test_who_has_a_free_slot_still_has_it_when_its_models_turn_out_to_be_other_weights():
    names = [f"m{n}" for n in range(12)]
    state, a = lone(models=names)
    state.set_resident(a, [resident(name) for name in names])
    state.set_stored(a, [stored(name, blob=f"sha256:{name}") for name in names])
    assert {name for name in names if list(state.free(canonical(name), ())) == [a]} == set(names)


def test_what_runs_elsewhere_takes_no_slot():
    state, a = lone(slots=1)
    stub = StoredModel(N, "n", "d", 1, {"remote_host": "https://ollama.com:443"})
    state.set_stored(a, [stub])
    for key in (N, canonical("x:cloud"), canonical("x:120b-cloud"), ""):
        for _ in range(3):
            assert state.lease(a, key).residency is None
        assert not a.full(key)
    assert a.in_flight == 12
    assert not a.runners


def test_a_model_that_turns_out_missing_is_struck_off_whatever_was_asked_of_it():
    """Also by a request that takes no slot: a lie in the map is a lie for all."""
    state, a = lone(models=("m", "n"))
    with state.lease(a, M, slot=False) as lease:
        state.outcome(lease, ModelMissing())
    assert set(a.stored) == {N}
    assert state.holders(M) == ()


# -- profiles -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "asked", "default", "profile"),
    [
        ((), (), 4096, ()),
        ((), LONG, 4096, LONG),
        ((), LONG, 8192, ()),
        ((), LONG, 0, LONG),
        (LONG, (), 4096, LONG),
        (LONG, (("num_ctx", 4096),), 4096, ()),
        (LONG, (("num_gpu", 3),), 0, (("num_ctx", 8192), ("num_gpu", 3))),
        ((("num_gpu", 3),), (("num_gpu", -1),), 0, ()),
        ((("adapters", "sha256:a"),), LONG, 0, (("adapters", "sha256:a"), ("num_ctx", 8192))),
    ],
)
def test_a_profile_is_the_modelfiles_options_with_the_requests_over_them(
    own, asked, default, profile
):
    assert effective(own, asked, default) == profile


@pytest.mark.parametrize(
    ("own", "length", "default", "trained", "profile"),
    [
        ((), 4096, 4096, 0, ()),
        ((), 8192, 4096, 0, LONG),
        ((), 2048, 4096, 0, ()),
        ((), 2048, 4096, 2048, ()),
        ((), 2048, 4096, 131072, (("num_ctx", 2048),)),
        ((), 8192, 0, 0, ()),
        ((), 0, 4096, 0, ()),
        (LONG, 8192, 4096, 0, LONG),
        (LONG, 4096, 4096, 131072, ()),
    ],
)
def test_a_foreign_runners_profile_is_told_by_its_context_where_that_says_something(
    own, length, default, trained, profile
):
    assert guessed(own, length, default, trained) == profile


def test_memory_is_known_under_the_profile_of_the_last_answer():
    state, a = lone()
    with state.lease(a, M, LONG) as lease:
        assert a.loading
        state.outcome(lease, Completed(200))
        assert not a.loading
    runner = a.runners["d-m"]
    assert runner.has(LONG)
    assert not runner.has(())
    state.set_resident(a, [resident("m", context_length=8192)])
    assert runner.has(LONG), "the list says nothing against it"
    state.set_resident(a, [resident("m", context_length=2048)])
    assert not runner.has(LONG), "somebody else had it loaded anew"


def test_after_a_restart_of_the_fleet_a_runner_is_known_by_its_context():
    state, a = lone(OLLAMA_CONTEXT_LENGTH="4096")
    state.set_resident(a, [resident("m", context_length=8192)])
    assert a.runners["d-m"].has(LONG)
    state, a = lone()
    state.set_resident(a, [resident("m", context_length=8192)])
    assert a.runners["d-m"].has(()), "nothing to compare with"


def test_what_a_lease_is_having_loaded_is_listed_under_its_own_profile():
    state, a = lone(OLLAMA_CONTEXT_LENGTH="4096")
    state.lease(a, M, LONG)
    state.set_resident(a, [resident("m", context_length=4096)])
    assert a.runners["d-m"].has(LONG), "a model may have been trained for less than was asked"


# -- loads ----------------------------------------------------------------------------------------


def test_a_wanted_load_is_asked_for_once_and_in_memory_at_once_when_it_ends():
    state, a = lone()
    wants, ends = [], []
    state.on_want.append(wants.append)
    state.on_load.append(lambda want, failure: ends.append((want, failure)))
    want = want_on(a, LONG)
    assert state.want(want)
    assert state.want(want)
    assert wants == [want]
    assert a.loading
    assert not a.suits(M, ())
    state.set_resident(a, [])
    assert a.loading, "what is being loaded is in no list yet"
    state.loaded(want)
    assert a.runners["d-m"].has(LONG)
    assert ends == [(want, None)]
    state.set_resident(a, [])
    assert not a.runners


def test_nobody_there_to_load_means_no_wait():
    state, a = lone()
    assert not state.want(want_on(a))
    assert not a.loading


def test_a_load_that_failed_leaves_nothing_in_memory():
    state, a = lone()
    state.on_want.append(lambda _: None)
    failure = UpstreamFailed("no")
    ends = []
    state.on_load.append(lambda _want, why: ends.append(why))
    state.want(want_on(a))
    state.not_loaded(want_on(a), failure)
    assert ends == [failure]
    assert not a.runners


def test_a_process_that_ends_takes_its_memory_and_its_loads_with_it():
    state, a = lone()
    state.on_want.append(lambda _: None)
    state.set_resident(a, [resident("n")])
    lease = state.lease(a, M)
    state.want(want_on(a))
    state.set_phase(a, Phase.BACKOFF, 0.0)
    assert list(a.runners) == ["d-m"], "its lease is still held"
    assert not a.runners["d-m"].loading
    lease.release()
    assert not a.runners


@pytest.mark.parametrize("phase", [Phase.STOPPED, Phase.STARTING, Phase.BACKOFF, Phase.FAILED])
def test_what_was_in_memory_before_a_start_or_an_end_is_not_any_more(phase):
    """A restart that was asked for goes from stopping straight to starting."""
    state, a = lone()
    state.set_resident(a, [resident("m")])
    state.set_phase(a, phase, 0.0)
    assert not a.resident
    assert not a.runners


def test_when_a_model_expires_is_known_only_while_nobody_uses_it():
    state, a = lone()
    state.set_resident(a, [resident("m", expires_s=100.0)])
    assert a.runners["d-m"].expires_s == 100.0
    with state.lease(a, M):
        state.set_resident(a, [resident("m", expires_s=50.0)])
        assert a.runners["d-m"].expires_s == math.inf, "while it is used the time is an old one"
    state.set_resident(a, [resident("m", expires_s=200.0)])
    assert a.runners["d-m"].expires_s == 200.0
    state.lease(a, M).release()
    assert a.runners["d-m"].expires_s == math.inf, "it has been used since"


# -- what runs ------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from(["lease", "release", "bind", "unbind"]), max_size=30))
def test_a_runner_counts_who_runs_and_who_waits_and_is_forgotten_after_the_last(steps):
    state, a = lone()
    leases, bound = [], 0
    for step in steps:
        if step == "lease":
            leases.append(state.lease(a, M))
        elif step == "bind":
            state.bind(a, a.residency(M))
            bound += 1
        elif step == "release" and leases:
            leases.pop().release()
        elif step == "unbind" and bound:
            state.unbind(a, a.residency(M))
            bound -= 1
        runner = a.runners.get("d-m")
        if leases or bound:
            assert (runner.in_flight, runner.waiting) == (len(leases), bound)
            assert runner.asked == {(): len(leases) + bound}
        else:
            assert runner is None


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=20), st.integers(0, 9))
def test_labour_is_slots_times_seconds_and_a_share_of_it_seconds_over_slots(changes, last_s):
    labour, now_s, worked_s, shared_s = Labour(), 0, 0, 0.0
    for pause_s, more in [*changes, (last_s, True)]:
        worked_s += labour.slots * pause_s
        shared_s += pause_s / labour.slots if labour.slots else 0.0
        now_s += pause_s
        assert labour.slot_s(now_s) == worked_s
        labour.change(1 if more or not labour.slots else -1, now_s)
        assert (labour.worked_s, labour.shared_s) == (worked_s, pytest.approx(shared_s))


def test_a_lease_has_had_a_share_of_its_instance_only_while_that_was_at_work_on_it():
    state, a = lone(models=("m", "n"))
    state.set_resident(a, [resident("m")])
    first, second, unsent = state.lease(a, M), state.lease(a, M), state.lease(a, N)
    for lease in (first, second, unsent):
        state.began(lease, Work(), 0.0)
    state.sent(first, 1.0)
    state.sent(second, 3.0)
    assert first.served(7.0) == 2.0 + 4.0 / 2
    assert second.served(8.0) == 4.0 / 2 + 1.0
    assert unsent.served(9.0) == 0.0
    assert a.labour.slots == a.runners["d-m"].labour.slots == 0


# -- who may be asked -----------------------------------------------------------------------------


MODELS = ("m", "n", "o")
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *("up", "sick", "well", "down", "store", "load", "lease", "release"),
                *("replace", "reload", "readmit"),
            ]
        ),
        st.integers(0, 3),
        st.sets(st.sampled_from(MODELS)),
    ),
    max_size=40,
)


@given(STEPS)
def test_the_indexes_say_what_a_look_at_every_instance_would(steps):
    routes = {N: frozenset({"i1", "i2"})}
    state = State(Placement(tuple(spec(f"i{n}", slots=2) for n in range(4)), routes))
    leases = []
    for step, at, models in steps:
        instance = state.instances[f"i{at}"]
        if step in ("up", "down"):
            phase = Phase.READY if step == "up" else Phase.BACKOFF
            state.set_phase(instance, phase, 0.0)
        elif step in ("sick", "well"):
            state.set_health(instance, Health.UNHEALTHY if step == "sick" else Health.HEALTHY)
        elif step == "store":  # m and o are names of one blob
            blobs = {"m": "sha256:w", "n": "", "o": "sha256:w"}
            state.set_stored(instance, [stored(m, blob=blobs[m]) for m in models])
        elif step == "load":
            state.set_resident(instance, [resident(m) for m in models])
        elif step in ("replace", "reload", "readmit"):
            renew(state, instance, step, models)
        elif step == "lease":
            leases += [state.lease(instance, canonical(m)) for m in models]
        elif leases:
            leases.pop(at % len(leases)).release()
        for model in MODELS:
            agrees(state, canonical(model))
        for lease in leases:
            assert lease.runner is lease.instance.runners[lease.residency.weights]
    for lease in leases:
        lease.release()
    assert all(not r.in_flight for i in state.instances.values() for r in i.runners.values())


def renew(state, instance, step, models):
    """Other weights by these names, or their reload."""
    if step == "replace":
        new = [stored(m, blob="sha256:new") for m in models]
        state.set_stored(instance, [replace(m, digest=f"new-{m.name}") for m in new])
        return
    for model in models:
        state.set_reloading(instance, canonical(model), under_way=step == "reload")


def agrees(state, key):
    everybody = list(state.instances.values())
    holders = [i for i in everybody if key in i.stored]
    assert sorted(state.holders(key), key=lambda i: i.number) == holders
    asked = [i for i in holders or everybody if i.healthy and state.may_serve(i, key)]
    ready = [i for i in asked if i not in holders or key not in i.reloading]
    assert list(state.ready(key)) == ready
    free = [i for i in ready if key in i.stored and _free(i, key)]
    assert list(state.free(key, ())) == free


def _free(instance, key):
    runner = instance.runners.get(instance.residency(key).weights)
    return runner is not None and runner.has(()) and runner.in_flight < instance.spec.slots


def test_a_slot_and_a_change_are_told_apart():
    """Whoever scans the fleet must not do so for every request that ends."""
    state, a = lone()
    changes, releases, phases = [], [], []
    state.on_change.append(lambda: changes.append(1))
    state.on_release.append(releases.append)
    state.on_phase.append(phases.append)
    lease = state.lease(a, M)
    lease.release()
    lease.release()
    assert (changes, releases, phases) == ([], [lease], [])
    state.set_phase(a, Phase.DRAINING, 0.0)
    hold(state, a, "n")
    assert (len(changes), phases) == (2, [a])


def test_a_residency_is_remembered_for_a_bounded_number_of_profiles():
    """Clients choose their options."""
    _, a = lone()
    for length in range(5000):
        assert a.residency(M, (("num_ctx", length),)) == Residency("d-m", (("num_ctx", length),))
    assert len(a._residencies) <= 1024


# -- slots that are not as configured -------------------------------------------------------------


def test_slots_that_were_found_out_are_those_that_are_free_or_full():
    state, a = lone(slots=1)
    state.set_resident(a, [resident("m")])
    state.limit(a, "d-m", 3)
    leases = [state.lease(a, M) for _ in range(2)]
    assert (a.free_of(M), a.slots, [i.name for i in state.free(M, ())]) == (1, 3, ["a"])
    state.limit(a, "d-m", 1)
    assert (a.full(M), a.free_of(M), list(state.free(M, ()))) == (True, -1, [])
    for lease in leases:
        assert list(state.free(M, ())) == []
        lease.release()
    assert [i.name for i in state.free(M, ())] == ["a"]


def test_slots_that_were_found_out_outlast_what_is_in_memory():
    state, a = lone(slots=1)
    state.set_resident(a, [resident("m")])
    state.limit(a, "d-m", 3)
    state.set_resident(a, [])
    assert not a.runners
    assert (a.slots_of("d-m"), a.slots_of("d-n"), a.slots) == (3, 1, 3)
    assert a.runner("d-m").slots == 3


@pytest.mark.parametrize(
    ("row", "slots"),
    [
        ({"details": {"family": "qwen3vl"}}, 1),
        ({"details": {"family": "gemma3"}, "capabilities": ["completion", "tools"]}, 4),
        ({"details": {"family": "llama"}}, 4),
        ({"details": None}, 4),
        ({}, 4),
    ],
)
def test_what_ollama_runs_for_one_request_at_a_time_has_one_slot(row, slots):
    state, a = lone(slots=4)
    state.set_stored(a, [StoredModel(M, "m", "d-m", 1, row), stored("n")])
    assert (a.slots_of("d-m"), a.slots_of("d-n")) == (slots, 4)
    assert a.lone == ({"d-m"} if slots == 1 else set())


@pytest.mark.parametrize(
    "row",
    [
        {"details": {"family": "nomic-bert"}},
        {"details": {"family": "gemma3"}, "capabilities": ["embedding"]},
    ],
)
def test_what_only_embeds_begins_with_one_slot(row):
    """It runs one at a time too, but so briefly that more on their way may pay."""
    state, a = lone(slots=4)
    for _ in range(2):
        state.set_stored(a, [StoredModel(M, "m", "d-m", 1, row)])
        assert (a.slots_of("d-m"), a.lone, a.embedders) == (1, set(), {"d-m"})
        state.set_stored(a, [])
    state.limit(a, "d-m", 2)
    state.set_stored(a, [StoredModel(M, "m", "d-m", 1, row)])
    assert a.slots_of("d-m") == 2, "what was found out is known"


def test_what_was_reckoned_of_an_instance_is_dropped_when_its_store_changes():
    state = fleet("a", models=("m",))
    instance = state.instances["a"]
    for kept in (instance.sketches, instance.load_sketches):
        kept["asked"] = "reckoned"
    state.set_stored(instance, [stored("m"), stored("n")])
    assert not instance.sketches
    assert not instance.load_sketches
