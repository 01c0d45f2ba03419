"""When an instance has failed too much: laws of the arithmetic, on made-up signs and times."""

import math

from hypothesis import assume, given
from hypothesis import strategies as st

from ollama_fleet.state.conduct import Conduct, Patience, Sign

PATIENCE = Patience()
FAILURES = (Sign.LOST, Sign.REFUSED, Sign.ERRED)
signs = st.lists(st.sampled_from(list(Sign)), max_size=40)
patiences = st.builds(
    Patience,
    st.integers(1, 9),
    st.integers(1, 9),
    st.floats(0.01, 100),
    st.floats(0.01, 1000),
)


def after(*told, conduct=None, now_s=0.0, patience=PATIENCE, alone=False):
    conduct = conduct or Conduct()
    for sign in told:
        conduct = conduct.after(sign, patience, now_s, alone=alone)
    return conduct


def test_three_connections_or_five_requests_in_a_row_are_too_many():
    for sign, enough in ((Sign.LOST, 3), (Sign.REFUSED, 3), (Sign.ERRED, 5)):
        assert not after(*[sign] * (enough - 1)).is_out(0.0)
        out = after(*[sign] * enough)
        assert (out.is_out(4.9), out.is_out(5.0)) == (True, False)


def test_who_refuses_right_after_a_connection_was_lost_has_died():
    assert after(Sign.LOST, Sign.REFUSED).is_out(0.0)
    assert not after(Sign.REFUSED, Sign.LOST).is_out(0.0)
    assert not after(Sign.REFUSED, Sign.REFUSED).is_out(0.0)
    assert not after(Sign.LOST, Sign.SERVED, Sign.REFUSED).is_out(0.0)


@given(signs, patiences)
def test_an_answer_wipes_the_slate(told, patience):
    before = after(*told, patience=patience)
    now_s = max(before.until_s, 0.0)
    assert after(Sign.SERVED, conduct=before, now_s=now_s) == Conduct()


@given(signs, st.sampled_from(list(Sign)))
def test_what_ends_while_it_is_out_says_nothing_new(told, sign):
    out = after(*told)
    assume(out.is_out(0.0))
    assert after(sign, conduct=out) == out


@given(st.lists(st.sampled_from(FAILURES), min_size=1, max_size=80), patiences)
def test_each_ejection_in_a_row_lasts_twice_as_long_up_to_the_longest(told, patience):
    conduct, now_s, pauses_s = Conduct(), 0.0, []
    for sign in told:
        conduct, before = after(sign, conduct=conduct, now_s=now_s, patience=patience), conduct
        if conduct.ejections > before.ejections:
            pauses_s.append(conduct.until_s - now_s)
            now_s = conduct.until_s
    for nth, pause_s in enumerate(pauses_s):
        wanted_s = min(patience.most_s, patience.first_s * 2.0**nth)
        assert math.isclose(pause_s, wanted_s, rel_tol=1e-6, abs_tol=1e-6)


def test_an_answer_after_it_is_back_makes_the_next_ejection_a_first_one():
    again = after(Sign.LOST, conduct=after(*[Sign.LOST] * 3), now_s=5.0)
    assert again.until_s == 5.0 + 10.0, "on probation one failure is too many"
    mended = after(Sign.SERVED, conduct=again, now_s=15.0)
    assert not after(Sign.LOST, Sign.LOST, conduct=mended, now_s=15.0).is_out(15.0)
    assert after(*[Sign.LOST] * 3, conduct=mended, now_s=15.0).until_s == 20.0


@given(st.integers(0, 10**6), patiences)
def test_no_pause_is_longer_than_the_longest_nor_overflows(ejections, patience):
    assert 0 < patience.pause_s(ejections) <= patience.most_s


@given(signs, patiences)
def test_who_is_alone_is_never_ejected_and_what_it_does_is_remembered(told, patience):
    lonely = after(*told, patience=patience, alone=True)
    assert not lonely.is_out(0.0)
    failed = [*reversed(told), Sign.SERVED].index(Sign.SERVED)
    assert lonely.lost + lonely.erred == failed
