"""A client that takes nothing is cut off; one that takes something is not."""

import struct

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
        self.is_aborted = self.is_closed = False
        self.can_half_close, self.kernel = True, None

    def get_extra_info(self, _name):
        return self.kernel

    def can_write_eof(self):
        return self.can_half_close

    def is_closing(self):
        return self.is_closed or self.is_aborted

    def close(self):
        self.is_closed = True

    def get_write_buffer_size(self):
        return self.waiting_bytes

    def abort(self):
        self.is_aborted = True


class Kernel:
    """Its part of what is sent: what the client has acknowledged, and what has not gone out."""

    def __init__(self):
        self.taken_bytes = self.unsent_bytes = 0

    def getsockopt(self, *_which):
        return struct.pack("=120xQ16xI", self.taken_bytes, self.unsent_bytes)


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


def test_what_only_the_kernel_sees_a_client_take_counts(loop, cut, stuck):
    transport = Transport(500)
    transport.kernel = Kernel()
    stuck.watch(transport)
    transport.kernel.taken_bytes = 1
    loop.fire()
    assert not transport.is_aborted
    loop.fire()
    assert transport.is_aborted
    assert len(cut) == 1


def test_who_has_all_and_says_no_goodbye_is_let_go_but_was_not_slow(loop, cut, stuck):
    transport = Transport(1)
    stuck.watch(transport)
    transport.waiting_bytes = 0
    loop.fire()
    loop.fire()
    assert transport.is_aborted
    assert not cut


@pytest.mark.parametrize(("tls", "here", "unsent"), [(False, 10**6, 10**6), (True, 9, 9)])
def test_a_connection_is_closed_at_once_where_that_loses_nothing(loop, stuck, tls, here, unsent):
    transport = Transport(here)
    transport.can_half_close, transport.kernel = not tls, Kernel()
    transport.kernel.unsent_bytes = unsent
    stuck.part(transport)
    assert transport.is_closed
    assert loop.is_quiet


def test_with_tls_a_connection_is_closed_when_little_is_left(loop, stuck):
    """What TLS has handed on shows nowhere but in the kernel, which is full meanwhile."""
    transport = Transport(0)
    transport.can_half_close, transport.kernel = False, Kernel()
    transport.kernel.unsent_bytes = 100_000
    stuck.part(transport)
    assert not transport.is_closed
    transport.kernel.unsent_bytes = 1000
    next(timer for timer in loop.timers if timer.delay_s < 1).call()
    assert transport.is_closed
