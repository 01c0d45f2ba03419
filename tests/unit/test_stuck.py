"""A client that takes nothing is cut off; one that takes something is not."""

import pytest

from ollama_fleet.api.connection.stuck import Stuck


class Loop:
    """Timers that fire when the test says so."""

    def __init__(self):
        self.timers = []

    def call_later(self, delay_s, call, *arguments):
        timer = Timer(delay_s, lambda: call(*arguments))
        self.timers.append(timer)
        return timer

    def fire(self):
        (timer,) = [timer for timer in self.timers if timer.is_set]
        timer.is_set = False
        timer.call()

    @property
    def is_quiet(self):
        return not any(timer.is_set for timer in self.timers)


class Timer:
    def __init__(self, delay_s, call):
        self.delay_s, self.call, self.is_set = delay_s, call, True

    def cancel(self):
        self.is_set = False


class Transport:
    def __init__(self, waiting_bytes):
        self.waiting_bytes = waiting_bytes
        self.is_aborted = False

    def get_write_buffer_size(self):
        return self.waiting_bytes

    def abort(self):
        self.is_aborted = True


@pytest.fixture
def loop():
    return Loop()


@pytest.fixture
def cut():
    return []


@pytest.fixture
def stuck(loop, cut):
    return Stuck(loop, 30.0, lambda: cut.append("cut"))


def test_who_takes_nothing_in_its_time_is_cut_off_once(loop, cut, stuck):
    transport = Transport(100_000)
    stuck.watch(transport)
    assert loop.timers[0].delay_s == 30.0
    loop.fire()
    assert transport.is_aborted
    assert cut == ["cut"]
    assert loop.is_quiet


def test_who_takes_a_byte_is_given_the_same_time_again(loop, cut, stuck):
    transport = Transport(100_000)
    stuck.watch(transport)
    for _ in range(5):
        transport.waiting_bytes -= 1
        loop.fire()
    assert not cut
    loop.fire()
    assert cut == ["cut"]


def test_who_keeps_up_again_is_watched_no_more(loop, cut, stuck):
    stuck.watch(Transport(1))
    stuck.let()
    assert loop.is_quiet
    stuck.let()
    assert not cut


def test_to_watch_twice_gives_no_more_time(loop, cut, stuck):
    transport = Transport(1)
    stuck.watch(transport)
    stuck.watch(transport)
    loop.fire()
    assert cut == ["cut"]
