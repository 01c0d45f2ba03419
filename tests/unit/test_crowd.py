"""How many connections may be open, and of whom."""

from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.api.connection.crowd import TOLD, Crowd, Over
from ollama_fleet.config.limits import HANDSHAKES, connections_within
from ollama_fleet.errors import Limit

addresses = st.sampled_from(["10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8:0:1::1", ""])


def test_the_first_beyond_the_limit_is_the_one_that_is_turned_away():
    crowd = Crowd(2)
    assert crowd.enter("a") is None
    assert crowd.enter("b") is None
    assert crowd.enter("c") == Over(Limit.CONNECTIONS, is_told=True)
    crowd.leave("c")
    crowd.leave("a")
    assert crowd.enter("c") is None, "who has gone makes room"


def test_a_limit_that_has_changed_holds_for_who_comes_next_in_its_parts_too():
    crowd = Crowd(8)
    part = crowd.part(1 / 4)
    assert [part.enter("a") for _ in range(2)] == [None, None]
    crowd.retune(4, {"b": 1}.get)
    assert part.enter("a") == Over(Limit.CONNECTIONS, is_told=True)
    assert part.open == 3, "who is there stays"
    assert crowd.enter("b") is None
    assert crowd.enter("b").limit is Limit.CONNECTIONS_PER_ADDRESS
    crowd.retune(100, lambda _: None)
    assert [each.enter("b") for each in (crowd, part)] == [None, None]


def test_an_address_has_a_limit_of_its_own_and_others_none_because_of_it():
    crowd = Crowd(100, {"10.0.0.1": 1}.get)
    assert crowd.enter("10.0.0.1") is None
    assert crowd.enter("10.0.0.1") == Over(Limit.CONNECTIONS_PER_ADDRESS, is_told=True)
    assert all(crowd.enter("10.0.0.2") is None for _ in range(50))


def test_the_addresses_of_one_ipv6_network_count_as_one():
    crowd = Crowd(100, lambda _: 1)
    assert crowd.enter("2001:db8::1") is None
    assert crowd.enter("2001:db8::2%eth0").limit is Limit.CONNECTIONS_PER_ADDRESS
    assert crowd.enter("2001:db8:0:1::1") is None


def test_only_some_of_a_flood_are_told_why():
    crowd = Crowd(1)
    crowd.enter("a")
    told = [crowd.enter("a").is_told for _ in range(2 * TOLD)]
    assert told == [True] * TOLD + [False] * TOLD


@given(st.lists(st.tuples(st.booleans(), addresses)))
def test_who_is_counted_is_who_has_come_and_not_gone(moves):
    crowd, here = Crowd(3, lambda _: 2), []
    for comes, address in moves:
        if comes:
            over = crowd.enter(address)
            here.append(address)
            assert (over is None) <= (len(here) <= 3), "no more than there may be are let stay"
        elif address in here:
            here.remove(address)
            crowd.leave(address)
        assert crowd.open == len(here)
    for address in here:
        crowd.leave(address)
    assert crowd.enter("10.0.0.1") is None


@given(st.integers(1, 2**20), st.integers(0, 100), st.booleans())
def test_every_connection_handshake_and_request_has_a_file_to_spare(files, instances, secured):
    most = connections_within(files, instances, secured=secured)
    handshakes = most // HANDSHAKES if secured else 0
    assert most >= 1
    assert most == 1 or 2 * most + handshakes + 4 * instances < files
