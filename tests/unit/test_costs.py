"""What a request is expected to take of the GPUs: what it does take, if nothing else happens."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest
from fleet_fixtures import asks, fleet, resident
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.config import Config
from ollama_fleet.estimate import Estimates, Prefixes, Speed
from ollama_fleet.fleet.routing import make_admission
from ollama_fleet.gpu import Gpu, Vendor
from ollama_fleet.router.costs import Costs
from ollama_fleet.router.strategies import Expectations
from ollama_fleet.state import Work


class Known:
    """Estimates that know: a prompt of 0.5 + 0.01 s a token, answers of 100 tokens or less."""

    def speed(self, _instance, _weights):
        return Speed(0.5, 0.01, 0.02, 0.01)

    def remaining_tokens(self, ask, written):
        return min(100.0, ask.cap_tokens or 100.0) - written

    def prompt_tokens(self, _key, text_bytes):
        return text_bytes / 4

    def load_s(self, *_asked, from_memory=False):
        raise AssertionError(f"a load is nobody's, from memory or not: {from_memory}")


def cost_gpu_s(request, instance):
    return Costs(Known(), Expectations(Known())).gpu_s(request, instance)


def warm(gpus=1):
    cards = tuple(Gpu(f"G{n}", n, "G", Vendor.NVIDIA, 1) for n in range(gpus))
    state = fleet("a", slots=8)
    instance = state.instances["a"]
    instance.spec = replace(instance.spec, gpus=cards)
    state.set_resident(instance, [resident("m")])
    return state, instance


def begin(state, instance, request):
    lease = state.lease(instance, request.key)
    state.began(lease, Work(), 0.0)
    state.sent(lease, 0.0)
    return lease


@given(st.integers(0, 7), st.integers(0, 4), st.integers(0, 10_000), st.integers(0, 200))
def test_the_cost_is_what_will_be_charged_if_those_beside_it_stay(beside, gpus, text_bytes, cap):
    state, instance = warm(gpus)
    request = asks(prompt_bytes=text_bytes, output_cap=cap)
    for _ in range(beside):
        begin(state, instance, asks())
    expected_gpu_s = cost_gpu_s(request, instance)
    lease = begin(state, instance, request)
    tokens = min(100, cap or 100)
    end_s = 0.5 + 0.01 * max(text_bytes / 4, 1) + tokens * (0.02 + 0.01 * (beside + 1))
    had_s = lease.served(end_s)
    assert expected_gpu_s == pytest.approx(max(gpus, 1) * had_s)


def test_those_who_wait_for_a_load_share_nothing():
    state, instance = warm()
    state.lease(instance, "another")
    assert cost_gpu_s(asks(), instance) == cost_gpu_s(asks(), warm()[1])


def test_a_call_that_takes_no_slot_costs_nothing():
    assert cost_gpu_s(asks(slot=False), warm()[1]) == 0.0


def test_a_fleet_charges_at_the_start_what_it_has_learned_to_expect():
    state, _ = warm()
    learned = SimpleNamespace(estimates=Estimates(), prefixes=Prefixes())
    admission = make_admission(Config(), state, learned, lambda: 0.0)
    request = asks(prompt_bytes=4000)
    costs = Costs(learned.estimates, Expectations(learned.estimates))
    expected_gpu_s = costs.gpu_s(request, state.instances["a"])
    asyncio.run(admission.admit(request))
    (charge,) = admission._desk._charges.values()
    assert charge.gpu_s == pytest.approx(expected_gpu_s)
    assert charge.gpu_s > 0
