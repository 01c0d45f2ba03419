"""How many requests a client may have under way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.api.underway import TooMany, UnderWay
from ollama_fleet.errors import Limit


def test_one_more_than_a_client_may_have_is_refused_and_not_counted():
    under_way = UnderWay({"ann": 2}.get)
    under_way.begin("ann")
    under_way.begin("ann")
    for _ in range(3):
        with pytest.raises(TooMany) as refused:
            under_way.begin("ann")
        assert refused.value.limit is Limit.REQUESTS_PER_CLIENT
    under_way.end("ann")
    under_way.begin("ann")


def test_a_limit_that_is_lowered_ends_nothing_and_holds_for_the_next():
    under_way = UnderWay(lambda _: 3)
    for _ in range(3):
        under_way.begin("ann")
    under_way.retune(lambda _: 1)
    for _ in range(3):
        with pytest.raises(TooMany):
            under_way.begin("ann")
        under_way.end("ann")
    under_way.begin("ann")


def test_what_one_client_has_is_nothing_to_another():
    under_way = UnderWay(lambda _: 1)
    under_way.begin("ann")
    under_way.begin("bob")


def test_the_addresses_of_one_ipv6_network_are_one_client():
    """A proxy may tell of any of them: its owner has them all."""
    under_way = UnderWay(lambda _: 1)
    owner = under_way.begin("2001:db8::1")
    with pytest.raises(TooMany):
        under_way.begin("2001:db8::2")
    under_way.begin("2001:db8:0:1::1")
    under_way.end(owner)
    under_way.begin("2001:db8::3")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans())))
def test_a_client_never_has_more_than_it_may_nor_less_than_it_has(moves):
    under_way, having = UnderWay({"a": 1, "b": 3}.get), []
    for client, begins in moves:
        if begins:
            most = {"a": 1, "b": 3}.get(client)
            if most is not None and having.count(client) == most:
                with pytest.raises(TooMany):
                    under_way.begin(client)
            else:
                under_way.begin(client)
                having.append(client)
        elif client in having:
            having.remove(client)
            under_way.end(client)
