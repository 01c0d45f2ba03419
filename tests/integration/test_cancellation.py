"""A short form of `scripts/soak cancel`: clients that leave at random moments."""

import uvloop

from ollama_fleet.bench.cancel import cancel_streams


def test_whoever_leaves_is_heard_of_and_gives_back_what_it_held():
    """Queued, before a token or in mid-stream: the instance hears of it, and the lease is back.

    How soon is a figure of the soak's, not of this test's.
    """
    report = uvloop.run(cancel_streams(150, seed=1))
    assert report.reached_an_instance > 40
    assert report.left_while_waiting > 0
    assert report.left_before_a_token > 0
    assert (report.never_heard, report.leases_left) == (0, 0)
