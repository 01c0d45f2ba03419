"""The gate: who is let in where, what is counted, and what is refused for whom."""

import math
from types import MappingProxyType

import pytest
from fleet_fixtures import asks

from ollama_fleet.api.app import ROUTES
from ollama_fleet.api.auth import (
    ANYONE,
    Bounds,
    Caller,
    Denied,
    Gate,
    Models,
    Role,
    Terms,
    Why,
    require_model,
)
from ollama_fleet.api.auth.knocks import MANY, WINDOW_S, Knocks
from ollama_fleet.api.auth.ledger import Ledger
from ollama_fleet.api.auth.presented import digest
from ollama_fleet.api.auth.rates import Rate
from ollama_fleet.api.auth.ring import KeyRing
from ollama_fleet.api.auth.roles import INFERENCE, least_role
from ollama_fleet.router.intake import read_body

ADMIN_ONLY = {
    "/api/pull", "/api/push", "/api/create", "/api/copy", "/api/delete", "api/blobs/:digest",
    "/api/me", "/api/signout", "api/user/keys/:key",
    "/api/experimental/web_search", "/api/experimental/web_fetch",
}  # fmt: skip
USER, ADMIN = Caller("ann", Role.USER), Caller("root")


def gate(*callers, now_s=0.0, **terms):
    made = Gate(Terms(**terms), clock=lambda: now_s, wall=lambda: now_s)
    made.renew(KeyRing(b"s", {digest(b"s", c.name): c for c in callers}))
    return made


def why(call, *arguments, **more):
    with pytest.raises(Denied) as denied:
        call(*arguments, **more)
    return denied.value.why, denied.value.status


def test_what_changes_the_fleet_is_for_admins_and_nothing_else_is():
    assert {route for route in ROUTES if least_role(route) is Role.ADMIN} == ADMIN_ONLY
    assert set(ROUTES) >= INFERENCE
    assert least_role("/api/whatever/comes") is Role.ADMIN


@pytest.mark.parametrize("route", [route for route in ROUTES if route != "/"])
def test_where_keys_are_required_nobody_comes_in_without(route):
    made = gate(USER, ADMIN, required=True)
    assert why(made.enter, "", route, by_own_name=True) == (Why.NO_KEY, 401)
    assert why(made.enter, "fleet_x", route, by_own_name=True) == (Why.UNKNOWN_KEY, 401)
    assert made.enter("root", route, by_own_name=False) is ADMIN
    if route in ADMIN_ONLY:
        assert why(made.enter, "ann", route, by_own_name=True) == (Why.ROLE, 403)
    else:
        assert made.enter("ann", route, by_own_name=False) is USER


def test_a_key_is_good_until_the_moment_it_expires():
    caller = Caller("ann", expires_s=100.0)
    assert gate(caller, now_s=99.9).enter("ann", "/api/tags", by_own_name=True) is caller
    late = gate(caller, now_s=100.0)
    assert why(late.enter, "ann", "/api/tags", by_own_name=True) == (Why.EXPIRED_KEY, 401)


def test_on_loopback_who_calls_it_otherwise_and_has_no_key_changes_nothing():
    made = gate(ADMIN, by_name=True)
    assert made.enter("", "/api/delete", by_own_name=True) is ANYONE
    assert why(made.enter, "", "/api/delete", by_own_name=False) == (Why.ROLE, 403)
    assert made.enter("", "/api/chat", by_own_name=False).role is Role.USER
    assert made.enter("root", "/api/delete", by_own_name=False) is ADMIN


def test_what_is_switched_off_is_refused_with_the_key_that_turns_it_on():
    made = gate(USER, switched_on=frozenset({"auth.push"}))
    for route in ("/api/create", "api/blobs/:digest"):
        with pytest.raises(Denied, match=r"`auth\.create: true` in fleet\.yaml"):
            made.enter("", route, by_own_name=True)
    assert made.enter("", "/api/push", by_own_name=True) is ANYONE
    assert why(made.enter, "ann", "/api/create", by_own_name=True)[0] is Why.ROLE


def test_requests_beyond_the_rate_wait_and_are_told_how_long():
    ledger, caller = Ledger(), Caller("ann", requests=Rate(2, 60.0))
    assert ledger.begin(caller, 0.0)["X-RateLimit-Remaining-Requests"] == "1"
    ledger.begin(caller, 0.0)
    with pytest.raises(Denied) as denied:
        ledger.begin(caller, 1.0)
    headers = denied.value.headers
    assert (denied.value.status, headers["Retry-After"]) == (429, "29")
    assert headers["X-RateLimit-Limit-Requests"] == "2"
    assert ledger.begin(caller, 30.0)["X-RateLimit-Remaining-Requests"] == "0"


def test_tokens_count_when_their_request_has_ended():
    ledger, caller = Ledger(), Caller("ann", tokens=Rate(100, 100.0))
    ledger.begin(caller, 0.0)
    assert ledger.begin(caller, 0.0)["X-RateLimit-Remaining-Tokens"] == "100"
    ledger.spent("ann", 150, 0.0)
    with pytest.raises(Denied) as denied:
        ledger.begin(caller, 0.0)
    assert (denied.value.why, denied.value.headers["Retry-After"]) == (Why.TOKENS, "51")
    ledger.begin(caller, 51.0)
    ledger.spent("nobody", 10, 0.0)


def test_as_many_are_on_their_way_as_may_be():
    ledger, caller = Ledger(), Caller("ann", concurrent=2)
    ledger.begin(caller, 0.0)
    ledger.begin(caller, 0.0)
    assert why(ledger.begin, caller, 0.0) == (Why.CONCURRENT, 429)
    ledger.end(caller)
    ledger.begin(caller, 0.0)


def test_a_new_rate_counts_from_the_next_request_and_who_is_gone_is_forgotten():
    ledger = Ledger()
    ledger.begin(Caller("ann", requests=Rate(1, 60.0)), 0.0)
    ledger.begin(Caller("ann", requests=Rate(5, 60.0)), 0.0)
    ledger.end(Caller("ann"))
    ledger.end(Caller("ann"))
    ledger.keep(())
    full = ledger.begin(Caller("ann", requests=Rate(5, 60.0)), 0.0)
    assert full["X-RateLimit-Remaining-Requests"] == "4"


def test_what_models_are_not_asked_for_counts_for_nothing():
    made, caller = gate(), Caller("ann", requests=Rate(1, 60.0))
    for _ in range(3):
        assert made.begin(caller, "/api/tags") == {}
        made.end(caller, "/api/tags")
    assert made.begin(ANYONE, "/api/chat") == MappingProxyType({})


BOUNDS = Bounds(4096, 3600.0, frozenset({"num_ctx", "temperature"}), unload=False)


@pytest.mark.parametrize(
    ("body", "objection"),
    [
        ('{"model":"m"}', ""),
        ('{"options":{"num_ctx":4096,"temperature":1}}', ""),
        ('{"options":{"num_ctx":4097}}', "num_ctx to 4096"),
        ('{"Options":{"num_ctx":4097}}', "num_ctx to 4096"),
        ('{"options":{"num_ctx":1},"optionS":{"num_ctx":5000}}', "num_ctx to 4096"),
        ('{"options":{"num_ctx":"5000"}}', "num_ctx to 4096"),
        ('{"options":{"num_ctx":1e300}}', "num_ctx to 4096"),
        ('{"options":{"num_gpu":0}}', "'num_gpu'"),
        ('{"options":null}', ""),
        ('{"keep_alive":"5m"}', ""),
        ('{"keep_alive":3600}', ""),
        ('{"keep_alive":"2h"}', "keep_alive to 3600"),
        ('{"keep_alive":-1}', "keep_alive to 3600"),
        ('{"keep_alive":"-1m"}', "keep_alive to 3600"),
        ('{"KEEP_ALIVE":-1}', "keep_alive to 3600"),
        ('{"keep_alive":"\u03bcs"}', "keep_alive to 3600"),
        ('{"keep_alive":0}', "may not unload"),
        ('{"keep_alive":"0s","prompt":"x"}', "may not unload"),
        ('{"keep_alive":"59s"}', "may not unload"),
        ('{"keep_alive":60}', ""),
        ('{"keep_alive":1e-9}', "may not unload"),
        ('{"keep_alive":1e-99}', "may not unload"),
        ('{"keep_alive":"-0.1ns"}', "may not unload"),
        ('{"options":{"x":"' + "y" * 300_000 + '","num_ctx":9999}}', "may not set the options ''"),
    ],
)
def test_options_are_kept_within_bounds_however_they_are_written(body, objection):
    wanted = read_body(body.encode(), stream_default=True)
    found = BOUNDS.objection(wanted)
    assert objection in found
    assert bool(found) == bool(objection)
    assert not Bounds().objection(wanted)


def test_who_may_unload_a_model_keeps_to_all_other_bounds():
    """A stay of nothing says nothing of the options beside it."""
    bounds = Bounds(max_context=4096, options=frozenset({"num_ctx"}))
    for stay in ("0", '"0s"', "1"):
        for options, told in (
            ('{"num_ctx":4097}', "num_ctx to 4096"),
            ('{"num_gpu":0}', "'num_gpu'"),
            ("{}", ""),
        ):
            body = f'{{"prompt":"x","keep_alive":{stay},"options":{options}}}'
            found = bounds.objection(read_body(body.encode(), stream_default=True))
            assert (told in found, bool(found)) == (True, bool(told)), body


def test_the_longest_stay_may_be_shorter_than_the_shortest_otherwise():
    bounds = Bounds(max_keep_alive_s=30.0, unload=False)
    told = {
        stay: bool(bounds.objection(read_body(b'{"keep_alive":%d}' % stay, stream_default=True)))
        for stay in (0, 29, 30, 31)
    }
    assert told == {0: True, 29: True, 30: False, 31: True}


def test_a_context_is_bounded_where_any_option_may_be_set():
    bounds = Bounds(max_context=4096)
    long = '{"options":{"x":"' + "y" * 300_000 + '"}}'
    assert "num_ctx" in bounds.objection(read_body(long.encode(), stream_default=True))
    free = read_body(b'{"options":{"num_gpu":0},"keep_alive":-1}', stream_default=True)
    assert bounds.objection(free) == ""
    assert Bounds().max_context == math.inf


@pytest.mark.parametrize(
    ("caller", "allowed"),
    [
        (ANYONE, True),
        (Caller("root"), True),
        (Caller("ann", Role.USER), False),
        (Caller("ann", Role.USER, Models.named(["other"])), False),
        (Caller("ann", Role.USER, Models.named(["big:*"])), False),
        (Caller("ann", Role.USER, Models.named(["big:cloud"])), True),
    ],
)
def test_who_spends_the_accounts_money_is_an_admin_or_has_a_key_for_that(caller, allowed):
    if allowed:
        require_model(caller, asks("big:cloud"))
    else:
        assert why(require_model, caller, asks("big:cloud")) == (Why.MODEL, 404)


def test_that_it_runs_is_told_whatever_key_is_brought():
    """The command line asks for / first, by HEAD: no answer to that can say what is wrong."""
    made = gate(Caller("ann", expires_s=1.0), now_s=2.0, required=True)
    for key in ("", "ann", "fleet_wrong"):
        assert made.enter(key, "/", by_own_name=False) is ANYONE


def test_a_gate_goes_by_new_terms_at_once():
    made = gate(USER, ADMIN, required=True)
    made.follow(Terms(required=True, switched_on=frozenset()))
    assert why(made.enter, "root", "/api/create", by_own_name=True) == (Why.SWITCHED_OFF, 403)
    made.follow(Terms())
    assert made.enter("", "/api/create", by_own_name=True) is ANYONE


def test_many_who_try_keys_are_one_event_a_minute():
    knocks = Knocks()

    def knock(times, now_s, reason=Why.UNKNOWN_KEY):
        return [n for at in range(times) for n in knocks.knocked(reason, f"10.0.0.{at % 3}", now_s)]

    assert knock(MANY, 0.0, Why.ROLE) == []
    assert knock(MANY - 1, 1.0) == []
    (told,) = knock(500, 2.0)
    assert told.figures["addresses"] == 3
    assert "20 requests without a valid key" in told.text
    assert knock(500, 1.0 + WINDOW_S - 0.1) == []
    assert len(knock(500, 1.0 + WINDOW_S)) == 1
