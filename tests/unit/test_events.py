"""The ring of events: numbers without gaps, what is routine never pushes out what is not."""

from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.state import Choice, Events, Kind, Notice, Severity

ROUTINE, GRAVE = Kind.MODEL_LOADED, Kind.INSTANCE_FAILED


def noted(*kinds, most=1000):
    events = Events(most)
    for at, kind in enumerate(kinds):
        events.note(Notice(kind=kind, text=f"{at}", instance=f"gpu{at % 2}"), 100.0 + at)
    return events


def test_an_event_has_all_that_was_told_a_number_and_its_time():
    events, told = Events(), []
    events.on_event.append(told.append)
    notice = Notice(
        kind=GRAVE, text="t", instance="i", gpu="g", model="m", request="r", figures={"n": 1}
    )
    event = events.note(notice, 12.5)
    assert (event.number, event.unix_s, event.severity) == (1, 12.5, Severity.ERROR)
    assert [getattr(event, name) for name in Notice.__slots__] == [
        getattr(notice, name) for name in Notice.__slots__
    ]
    assert told == [event]


@given(st.lists(st.sampled_from(Kind), max_size=40), st.integers(1, 10), st.integers(0, 45))
def test_what_is_later_than_a_number_comes_in_order_and_the_newest_are_never_lost(kinds, most, n):
    """Of each severity the last `most` are there, whatever else has happened."""
    found = [e.number for e in noted(*kinds, most=most).after(n)]
    kept = set()
    for severity in Severity:
        of_it = [at for at, kind in enumerate(kinds, 1) if kind.severity is severity]
        kept.update(of_it[-most:])
    assert found == sorted(number for number in kept if number > n)


def test_what_an_earlier_fleet_has_seen_comes_first_and_numbers_go_on():
    before = noted(ROUTINE, GRAVE, ROUTINE)
    events = Events()
    events.restore(before.after())
    events.note(Notice(kind=ROUTINE, text="new"), 200.0)
    assert [(e.number, e.text) for e in events.after()] == [
        (1, "0"),
        (2, "1"),
        (3, "2"),
        (4, "new"),
    ]


def test_a_choice_is_by_kind_by_instance_and_by_time_all_at_once():
    events = [*noted(ROUTINE, GRAVE, ROUTINE, GRAVE).after()]

    def chosen(**wish):
        return [e.number for e in events if Choice(**wish).has(e)]

    assert chosen() == [1, 2, 3, 4]
    assert chosen(kinds=["instance_failed"]) == [2, 4]
    assert chosen(instances=["gpu0"]) == [1, 3]
    assert chosen(since_s=102.0) == [3, 4]
    assert chosen(kinds=["instance_failed"], instances=["gpu1"], since_s=102.0) == [4]
