"""How long who has been told the last word is listened to."""

from types import SimpleNamespace

from ollama_fleet.api.connection.lingering import LINGER_MOST_S, LINGER_S, Lingering


def lingering():
    """On a clock that is put forward, and the times that it gives."""
    now, given = SimpleNamespace(s=100.0), []
    loop = SimpleNamespace(time=lambda: now.s)
    return now, given, Lingering(loop, SimpleNamespace(give=given.append))


def test_who_goes_on_sending_is_heard_out_but_not_for_ever():
    now, given, client = lingering()
    client.begin()
    for later_s in (LINGER_S - 1, LINGER_MOST_S - 2, LINGER_MOST_S + 9):
        now.s = 100.0 + later_s
        client.heard()
    assert given == [LINGER_S, LINGER_S, 2.0, 0.0]


def test_before_the_last_word_nothing_is_given():
    _, given, client = lingering()
    client.heard()
    assert not given
