"""What a snapshot says of an instance's models: who is used, who is on the way into memory."""

from fleet_fixtures import asks, fleet, stored

from ollama_fleet.state import FleetFacts, Residency, Want, snapshot

FACTS = FleetFacts("0.1.0", "127.0.0.1:1", "first", False, 0.0, (), ())


def told(state):
    return snapshot(state, FACTS, 1.0).instances[0]


def test_requests_in_flight_are_counted_by_the_name_of_their_model():
    state = fleet("gpu0", models=("a", "b"))
    one = state.instances["gpu0"]
    leases = [state.lease(one, asks(model).key) for model in ("a", "a", "b")]
    assert told(state).in_flight_by_model == {"a": 2, "b": 1}
    for lease in leases:
        lease.release()
    assert told(state).in_flight_by_model == {}


def test_a_request_for_a_model_that_no_store_has_goes_by_its_key():
    state = fleet("gpu0", models=())
    key = asks("new").key
    with state.lease(state.instances["gpu0"], key):
        assert told(state).in_flight_by_model == {key: 1}


def test_a_model_that_is_being_loaded_is_named_until_that_ends():
    state = fleet("gpu0", models=("a", "b"))
    one = state.instances["gpu0"]
    state.on_want.append(lambda _want: None)
    want = Want(one, Residency(stored("b").weights), "b", "/api/generate", ())
    state.want(want)
    assert told(state).loading == ("b",)
    state.loaded(want)
    assert told(state).loading == ()


def test_slots_are_told_where_they_are_not_those_of_the_configuration():
    state = fleet("gpu0", models=("a", "b"))
    one = state.instances["gpu0"]
    state.limit(one, stored("a").weights, 7)
    assert told(state).slots_by_model == {"a": 7}


def test_places_are_the_slots_of_all_models_that_an_instance_is_about():
    """So that what is in flight is never more of them than there are."""
    state = fleet("gpu0", models=("a", "b"))
    one = state.instances["gpu0"]
    assert told(state).places == one.spec.slots
    leases = [state.lease(one, asks(model).key) for model in ("a", "b")]
    assert (told(state).in_flight, told(state).places) == (2, 2 * one.spec.slots)
    state.limit(one, stored("a").weights, 7)
    assert told(state).places == 7 + one.spec.slots
    for lease in leases:
        lease.release()
