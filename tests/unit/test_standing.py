"""Who asks, how much it matters and how long they wait, as headers tell it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from ollama_fleet.router.dialect import Dialect
from ollama_fleet.router.intake import BadHeader, Priority, Wanted, inference, standing


def read(client="10.0.0.1", **headers):
    return standing(CIMultiDict((n.replace("_", "-"), v) for n, v in headers.items()), client)


def test_who_says_nothing_is_its_address_and_waits_as_all_do():
    sender = read()
    assert (sender.tenant, sender.priority, sender.deadline_s) == (
        "10.0.0.1",
        Priority.NORMAL,
        math.inf,
    )


def test_a_key_names_its_tenant_from_wherever_it_comes_and_is_not_told():
    bearer = read(authorization="Bearer sk-secret")
    assert bearer.tenant == read("10.9.9.9", x_api_key="sk-secret").tenant
    assert bearer.tenant != read(authorization="Bearer sk-other").tenant
    assert "secret" not in bearer.tenant


@given(st.text(max_size=50))
def test_no_key_raises(key):
    assert read(authorization=key).tenant


@pytest.mark.parametrize("priority", Priority)
def test_a_priority_goes_by_its_name_in_any_case(priority):
    assert read(x_fleet_priority=priority.name.title()).priority is priority


@pytest.mark.parametrize("text", ["urgent", "", "1"])
def test_an_unknown_priority_is_refused_with_those_there_are(text):
    with pytest.raises(BadHeader, match="high, normal, low"):
        read(x_fleet_priority=text)


@pytest.mark.parametrize(("text", "seconds"), [("30", 30), (" 1.5 ", 1.5), ("1m30s", 90)])
def test_a_deadline_is_seconds_from_now(text, seconds):
    assert read(x_fleet_deadline=text).deadline_s == seconds


@pytest.mark.parametrize("text", ["0", "-1", "soon", "nan", "1e999", "2026-11-21T12:00:00Z"])
def test_a_deadline_that_is_no_time_to_wait_is_refused_with_what_would_be_one(text):
    with pytest.raises(BadHeader, match="give seconds"):
        read(x_fleet_deadline=text)


@given(st.text(max_size=20), st.text(max_size=20))
def test_no_header_but_a_bad_one_raises(priority, deadline):
    try:
        sender = read(x_fleet_priority=priority, x_fleet_deadline=deadline)
    except BadHeader:
        return
    assert sender.deadline_s > 0


def test_a_request_carries_its_senders_standing():
    sender = read(x_fleet_priority="low", x_fleet_deadline="5", x_api_key="k")
    asked = inference("/x", Dialect.OLLAMA, b"", Wanted("m", stream=False), standing=sender)
    assert (asked.tenant, asked.priority, asked.deadline_s) == (sender.tenant, Priority.LOW, 5.0)
