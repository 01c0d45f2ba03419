"""What the records of requests come to: who is blamed, what is measured, what is told."""

import random

import pytest
from fleet_fixtures import fleet
from made_records import KEY, Clock, made

from ollama_fleet.fleet.noticing import TIMED, Noticing, samples
from ollama_fleet.history import Ending

GONE, BROKEN, REFUSED = Ending.CLIENT_GONE, Ending.BROKEN, Ending.REFUSED


@pytest.mark.parametrize(
    ("changes", "blamed"),
    [
        ({}, []),
        ({"status": 500, "ending": REFUSED}, ["gpu0"]),
        ({"status": 400, "ending": REFUSED}, []),
        ({"ending": BROKEN}, ["gpu0"]),
        ({"ending": GONE}, []),
        ({"ending": GONE, "status": 500}, []),
        ({"tried": ("gpu1", "gpu0"), "failures": ("UpstreamFailed",), "attempts": 2}, ["gpu1"]),
        ({"tried": ("gpu1", "gpu0"), "failures": ("ModelMissing",), "attempts": 2}, []),
        # It waited for a second place in vain: the first instance is to blame, and that once.
        ({"tried": ("gpu0",), "failures": ("ConnectFailed",), "status": 503, "ending": REFUSED},
         ["gpu0"]),
        ({"tried": (), "instance": "", "attempts": 0, "status": 503, "ending": REFUSED}, []),
        ({"inference": False, "status": 500, "ending": REFUSED}, []),
    ],
)  # fmt: skip
def test_only_who_failed_a_request_is_blamed(changes, blamed):
    assert [s.instance for s in samples(made(**changes), 1) if s.failed] == blamed


def test_times_are_the_instances_own_without_queue_and_load():
    times = {"queue_s": 1.0, "load_s": 2.0, "reported_load_s": 0.5, "first_byte_s": 4.0}
    (one,) = samples(made(**times, reported_decode_s=4.0, output_tokens=20), 3)
    assert (one.first_s, one.token_s, one.busy) == (0.5, 0.2, 3)
    (one,) = samples(made(**times, reported_decode_s=0.0, total_s=6.0, output_tokens=20), 1)
    assert one.token_s == 0.1, "by the router's clock where the instance tells nothing"
    (one,) = samples(made(stream=False, reported_prefill_s=0.3, output_tokens=7), 1)
    assert (one.first_s, one.token_s) == (0.3, 0.0), "so few tokens tell nothing"


def test_an_answer_at_the_second_attempt_tells_no_times():
    *_, one = samples(made(tried=("gpu1", "gpu0"), failures=("ConnectFailed",), attempts=2), 1)
    assert (one.instance, one.failed, one.first_s, one.token_s) == ("gpu0", False, 0.0, 0.0)


class Watched:
    """A fleet whose requests are looked at."""

    def __init__(self):
        self.state, self.clock = fleet("gpu0", "gpu1"), Clock(0.0)
        self.notices, self.later = [], []
        self.state.on_notice.append(self.notices.append)
        self.noticing = Noticing(
            self.state, clock=self.clock, later=lambda s, call: self.later.append((s, call))
        )


def test_an_instance_that_has_become_slow_is_named_with_its_figures():
    """Whatever else ends in the same batches."""
    one, rng = Watched(), random.Random(1)
    for at in range(120):
        slow = 4.0 if at >= 60 else 1.0
        batch = [
            made(id=f"{at} {name}", instance=name, tried=(name,), reported_decode_s=seconds)
            for name, times in (("gpu0", 1.0), ("gpu1", slow))
            for seconds in [times * 0.4 * rng.uniform(0.8, 1.2)]
        ]
        one.noticing.look(batch)
    (notice,) = one.notices
    assert (notice.kind, notice.instance, notice.model) == ("anomaly", "gpu1", "Qwen3:8b")
    figures = notice.figures
    assert figures["measure"] == "token_s"
    assert figures["usual"] == pytest.approx(0.02, rel=0.15)
    assert figures["now"] == pytest.approx(0.08, rel=0.15)
    assert figures["learned"] >= 60
    assert notice.text == (
        f"a token takes {1000 * figures['now']:.1f} ms, usually {1000 * figures['usual']:.1f} ms"
        f" (the last {figures['requests']} requests)"
    )
    assert notice.request.endswith(" gpu1")
    assert notice.request.split()[0] in {str(n) for n in range(60, 80)}


def test_of_what_ends_together_some_tell_how_long_they_took_and_all_how_they_ended():
    one = Watched()
    for slow in (*[1.0] * 20, *[4.0] * 3):
        batch = [made(instance=n, tried=(n,)) for n in ("gpu0", "gpu1") for _ in range(50)]
        took = {"instance": "gpu1", "tried": ("gpu1",), "reported_decode_s": slow * 0.4}
        one.noticing.look([*batch[:50], *(made(**took) for _ in batch[50:])])
    (notice,) = one.notices
    assert (notice.instance, notice.figures["measure"]) == ("gpu1", "token_s")
    assert notice.figures["learned"] <= 20 * TIMED + notice.figures["requests"]
    one.noticing.look([made(status=500, ending=REFUSED, key=KEY) for _ in range(TIMED + 4)])
    assert one.notices[-1].figures["learned"] == 23 * 50, "of failures every request counts"


def test_an_instance_that_fails_everything_is_told_after_four():
    one = Watched()
    one.noticing.look([made() for _ in range(100)])
    one.noticing.look([made(status=500, ending=REFUSED, key=KEY) for _ in range(4)])
    (notice,) = one.notices
    assert notice.text == "requests fail: 100%, usually 1% (the last 4 requests)"


def test_refusals_are_told_at_once_and_their_end_when_none_has_come_for_a_while():
    one = Watched()
    full = made(error="QueueFull: full", status=503, ending=REFUSED, instance="", tried=())
    one.noticing.look([full, full])
    assert [n.kind for n in one.notices] == ["requests_refused"]
    ((seconds, ask),) = one.later
    one.clock.now_s = seconds - 1
    one.noticing.look([full])
    one.clock.now_s = seconds
    ask()
    assert len(one.notices) == 1, "one has come since"
    (_, (seconds, ask)) = one.later
    one.clock.now_s += seconds
    ask()
    assert [n.kind for n in one.notices] == ["requests_refused", "refusals_over"]
    assert one.notices[1].figures["requests"] == 3
    assert len(one.later) == 2, "nobody asks again"
