"""A model that a request has told to go is gone when nobody uses it, before anyone has looked."""

import pytest
from fleet_fixtures import fleet, hold, resident, stored

from ollama_fleet.names import canonical
from ollama_fleet.router.dialect import Dialect
from ollama_fleet.router.intake import inference
from ollama_fleet.router.intake.fields import Fields
from ollama_fleet.state import KeepAlive, Work

M, N = canonical("m"), canonical("n")
GOES, STAYS, UNSAID = KeepAlive.GOES, KeepAlive.STAYS, KeepAlive.UNSAID


def lone():
    """A fleet of one that has two models in its memory."""
    state = fleet("a", slots=2)
    a = state.instances["a"]
    hold(state, a, "m", "n")
    state.set_resident(a, [resident("m"), resident("n")])
    return state, a


def start(state, instance, keep_alive=UNSAID):
    lease = state.lease(instance, M)
    state.began(lease, Work(keep_alive=keep_alive), 0.0)
    state.sent(lease, 0.0)
    return lease


def in_memory(state, instance):
    """Whether the model counts as being there, which all that is known has to agree on."""
    weights = instance.residency(M).weights
    runner = instance.runners.get(weights)
    counted = runner is not None and runner.resident
    assert counted == (M in instance.resident) == ("a" in state.residents(weights))
    assert N in instance.resident
    return counted


def test_it_is_gone_with_the_request_that_told_it_to():
    state, a = lone()
    lease = start(state, a, GOES)
    assert in_memory(state, a)
    lease.release()
    assert not in_memory(state, a)
    assert not state.free(M, ())
    state.set_stored(a, [stored("m"), stored("n"), stored("o")])
    assert not in_memory(state, a)


def test_it_stays_while_others_use_it_and_goes_with_the_last():
    state, a = lone()
    first, second = start(state, a, GOES), start(state, a)
    first.release()
    assert in_memory(state, a)
    second.release()
    assert not in_memory(state, a)


@pytest.mark.parametrize(("said", "kept"), [((GOES, STAYS), True), ((STAYS, GOES), False)])
def test_who_was_sent_last_decides(said, kept):
    state, a = lone()
    leases = [start(state, a, keep_alive) for keep_alive in said]
    for lease in leases:
        lease.release()
    assert in_memory(state, a) is kept


def test_what_is_loaded_anew_has_been_told_nothing():
    state, a = lone()
    start(state, a, GOES).release()
    lease = start(state, a)
    state.set_resident(a, [resident("m"), resident("n")])
    lease.release()
    assert in_memory(state, a)


def test_a_request_that_was_never_sent_has_told_nobody():
    """Its client left while it waited for the model."""
    state, a = lone()
    lease = state.lease(a, M)
    state.began(lease, Work(keep_alive=GOES), 0.0)
    lease.release()
    assert in_memory(state, a)


def test_a_look_that_finds_it_there_is_believed():
    """The instance knows best: somebody else may have had it loaded."""
    state, a = lone()
    start(state, a, GOES).release()
    state.set_resident(a, [resident("m"), resident("n")])
    assert in_memory(state, a)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (b"0", GOES), (b'"0s"', GOES), (b'"0"', GOES), (b"0.0", GOES), (b"-1", STAYS),
        (b'"5m"', STAYS), (b"60", STAYS), (b"null", UNSAID), (b'"soon"', UNSAID), (b"{}", UNSAID),
    ],
)  # fmt: skip
def test_what_a_body_says_of_its_models_stay(written, said):
    """Only Ollama's own API knows how; a model with work to do is not just unloaded."""
    fields = Fields()
    fields.assign("model", b'"m"')
    fields.assign("prompt", b'"hi"')
    fields.assign("keep_alive", written)
    wanted = fields.wanted(stream_default=True)
    assert (wanted.keep_alive, wanted.unload) == (said, False)
    asked = inference("/api/generate", Dialect.OLLAMA, b"", wanted)
    assert asked.keep_alive is said
    assert inference("/v1/completions", Dialect.OPENAI, b"", wanted).keep_alive is UNSAID
