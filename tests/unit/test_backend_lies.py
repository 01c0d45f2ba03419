"""A backend that lies in its lists: the fleet goes on, and knows the truth when it is told it.

FLEET_LIES sets how many sequences of up to five lies are tried: 10,000 take 95 s of a CPU.
"""

import asyncio
import json
import os

import msgspec
from fleet_fixtures import asks, fleet
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ollama_fleet.control.events.memory import changes
from ollama_fleet.control.prober.lists import Lists
from ollama_fleet.control.repair.models import in_memory
from ollama_fleet.control.repair.offload import spilled
from ollama_fleet.control.repair.tokens import askable
from ollama_fleet.errors import ModelMissing
from ollama_fleet.gpu import Gpu, Vendor
from ollama_fleet.ollama import decode, resident_models, stored_models
from ollama_fleet.router.policy import candidates
from ollama_fleet.state import FleetFacts, snapshot

CASES = int(os.environ.get("FLEET_LIES", "60"))
GPU = Gpu("GPU-0", 0, "card", Vendor.NVIDIA, 2**34)
FACTS = FleetFacts("0.1.0", "127.0.0.1:1", "first", False, 0.0, (GPU,), ())

NUMBERS = st.integers(-(2**70), 2**70) | st.integers(-2, 9) | st.floats(-1e300, 1e300)
TEXTS = st.sampled_from(
    ("", "m", "m:latest", "M", "llama", "bert", "qwen35", "a b/../c", "é\x1b[2J")
)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)
NAMES = st.sampled_from(("m", "m:latest", "M:Latest", "other", "hf.co/x/y:z", "m:cloud")) | JSON
DIGESTS = st.sampled_from(("", "d", "sha256:d", "e")) | JSON
DETAILS = JSON | st.fixed_dictionaries(
    {}, optional={"family": TEXTS | JSON, "context_length": NUMBERS | JSON}
)
TIMES = JSON | st.sampled_from(
    ("2026-11-21T02:40:32.8663399Z", "9999-12-31T23:59:59+14:00", "0001-01-01T00:00:00-23:59")
)
ROWS = st.fixed_dictionaries(
    {"name": NAMES},
    optional={
        "model": NAMES,
        "size": NUMBERS | JSON,
        "size_vram": NUMBERS | JSON,
        "digest": DIGESTS,
        "details": DETAILS,
        "expires_at": TIMES,
        "context_length": NUMBERS | JSON,
        "remote_host": JSON,
        "capabilities": JSON | st.lists(TEXTS | JSON, max_size=2),
    },
)
BODIES = (
    st.binary(max_size=20)
    | JSON.map(json.dumps).map(str.encode)
    | st.fixed_dictionaries({"models": st.lists(ROWS | JSON, max_size=3) | JSON})
    .map(json.dumps)
    .map(str.encode)
)
TRUTH_TAGS = json.dumps({"models": [{"name": "m:latest", "digest": "d", "size": 7}]}).encode()
TRUTH_PS = json.dumps({"models": [{"name": "m:latest", "digest": "d", "size": 7}]}).encode()


class Liar:
    """Says what it is told to say, read as the fleet reads it."""

    def __init__(self):
        self.tells = b""

    async def tags(self, *, timeout_s):
        assert timeout_s < 60
        return stored_models(decode(self.tells))

    async def ps(self, *, timeout_s):
        assert timeout_s < 60
        return resident_models(decode(self.tells))

    async def show(self, _name, *, timeout_s):
        assert timeout_s < 60
        return decode(self.tells)


async def no_weights(_store, _models):
    return {}


def make():
    state, liar = fleet("a", "b"), Liar()
    return state, liar, Lists(state, lambda _: liar, no_weights)


def holds(state):
    """What must be true of the store whatever it was told."""
    for instance in state.instances.values():
        for key in instance.stored:
            assert instance in state.holders(key)
        list(changes(instance, (), 0.0))
        list(spilled(instance))
        list(in_memory(instance))
        askable(instance)
        assert instance.slots >= 1
        assert instance.in_flight == 0
    for model in ("m", "other", "hf.co/x/y:z", "m:cloud"):
        request = asks(model)
        for instance in candidates(request, state, frozenset()):
            assert instance.healthy
            with state.lease(instance, request.key) as lease:
                state.outcome(lease, ModelMissing("404"))
    told = msgspec.json.encode(snapshot(state, FACTS, 1.0))
    assert msgspec.json.decode(told)["instances"][0]["name"] == "a"


@settings(max_examples=CASES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(("tags", "ps", "show")), BODIES), max_size=5))
def test_whatever_it_says_nothing_breaks_and_the_truth_heals_it(lies):
    async def check():
        state, liar, lists = make()
        one, other = state.instances.values()
        for kind, body in lies:
            liar.tells = body
            await {"tags": lists.on_disk, "ps": lists.in_memory, "show": lists.weights}[kind](one)
            holds(state)
        for instance in (one, other):
            liar.tells = TRUTH_TAGS
            await lists.on_disk(instance)
            liar.tells = TRUTH_PS
            await lists.in_memory(instance)
            assert [m.name for m in instance.stored.values()] == ["m:latest"]
            assert [m.name for m in instance.rows] == ["m:latest"]

    asyncio.run(check())
