"""What a request is expected to be: reckoned once, and no reason to keep it."""

import gc
import weakref

from fleet_fixtures import asks

from ollama_fleet.router.strategies import Expectations


class Asked:
    """Estimates that count how often they are asked."""

    def __init__(self):
        self.count = 0

    def prompt_tokens(self, _key, text_bytes):
        self.count += 1
        return text_bytes / 4

    def remaining_tokens(self, ask, written):
        return (ask.cap_tokens or 100.0) - written


def test_a_request_is_reckoned_once_though_many_ask():
    asked = Asked()
    expected, request = Expectations(asked), asks(prompt_bytes=400, output_cap=7)
    assert [expected(request) for _ in range(3)] == [(100.0, 7.0)] * 3
    assert asked.count == 1


def test_requests_that_are_alike_are_not_mistaken_for_one_another():
    expected = Expectations(Asked())
    for size in range(1, 2000):  # a new one may live where the last one did
        assert expected(asks(prompt_bytes=4 * size)) == (size, 100.0)


def test_a_request_and_its_body_do_not_outlive_their_answer():
    expected, request = Expectations(Asked()), asks(body=b"image")
    gone = weakref.ref(request)
    expected(request)
    del request
    gc.collect()
    assert gone() is None


def test_a_call_that_takes_no_slot_is_no_work():
    assert Expectations(Asked())(asks(slot=False)) == (0.0, 0.0)
