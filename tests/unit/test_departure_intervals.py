"""How often a client that sends no more is asked whether it is there, on virtual time."""

import asyncio
import socket
from itertools import pairwise

import pytest
from virtual_time import now, passes, run

from ollama_fleet.api.connection.departure import LONGEST_S, PATIENCE_S, Departure

ESTABLISHED, CLOSED = 1, 7  # of the kernel's states of a TCP connection
HOURS_S = 7_200.0


class Line:
    """A connection, which notes when something is asked on it, and when it is given up."""

    def __init__(self):
        self.state = ESTABLISHED
        self.written_s, self.looked_s = [], []
        self.aborted = False

    def get_extra_info(self, name):
        assert name == "socket"
        return self

    def setsockopt(self, *_option):
        """Take any."""

    def getsockopt(self, *_option):
        self.looked_s.append(now())
        return bytes([self.state])

    def write(self, _question):
        self.written_s.append(now())

    def is_closing(self):
        return self.aborted

    def abort(self):
        self.aborted = True


class Answer:
    """What is known of an answer, and the line that it is for."""

    def __init__(self, *, begun):
        self.line, self.begun, self.over = Line(), begun, False
        Departure(
            self.line,
            asyncio.get_running_loop(),
            may_be_asked=True,
            has_begun=lambda: self.begun,
            is_over=lambda: self.over,
        )


def gaps(times_s):
    return [after - before for before, after in pairwise(times_s)]


def test_questions_grow_rare_and_never_rarer_than_one_in_a_second():
    """However long a request waits in the queue."""

    async def scenario():
        line = Answer(begun=False).line
        await passes(HOURS_S)
        assert line.written_s[0] == PATIENCE_S
        between_s = gaps(line.written_s)
        assert between_s[:3] == pytest.approx([PATIENCE_S / 2, PATIENCE_S, 2 * PATIENCE_S])
        assert max(between_s) == pytest.approx(LONGEST_S)
        assert len(between_s) >= HOURS_S / LONGEST_S
        assert not line.looked_s, "the kernel is asked where nothing can be written"

    run(scenario())


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="the kernel cannot be asked here")
def test_however_long_an_answer_takes_who_leaves_is_missed_within_a_second():
    async def scenario():
        answer = Answer(begun=True)
        await passes(HOURS_S)
        assert not answer.line.aborted
        answer.line.state = CLOSED
        await passes(LONGEST_S)
        assert answer.line.aborted
        assert not answer.line.written_s, "nothing is asked in the middle of an answer"
        looked = len(answer.line.looked_s)
        await passes(HOURS_S)
        assert len(answer.line.looked_s) == looked, "and then no more"

    run(scenario())


def test_nobody_is_asked_once_the_answer_is_over():
    async def scenario():
        answer = Answer(begun=False)
        await passes(10 * LONGEST_S)
        answer.over = True
        asked = len(answer.line.written_s)
        await passes(HOURS_S)
        assert len(answer.line.written_s) == asked > 0

    run(scenario())
