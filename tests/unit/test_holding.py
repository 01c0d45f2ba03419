"""What is kept back of an answer, and until when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.api.holding import HeldBack
from ollama_fleet.router.relay.framing import chunk, parse_head

HEAD = parse_head(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson")
PROGRESS, SUCCESS, END = b'{"status":"reading"}\n', b'{"status":"success"}\n', b"0\r\n\r\n"


class Client:
    """Notes what a client would see."""

    speaks_chunked = True

    def __init__(self):
        self.seen = []

    def start(self, _head, _ours):
        self.seen.append("start")

    def write(self, data):
        self.seen.append(data)

    def finish(self):
        self.seen.append("finish")

    def reset(self):
        self.seen.append("reset")

    def flow(self, _pause, _resume):
        self.seen.append("flow")


def told(whole, *pieces):
    """A client and what stands before it, after these pieces of an answer."""
    client = Client()
    held = HeldBack(client, whole=whole)
    held.start(HEAD, ())
    held.flow(lambda: None, lambda: None)
    for piece in pieces:
        held.write(piece)
    held.finish()
    return client, held


def test_progress_passes_and_success_with_all_behind_it_waits():
    client, held = told(False, PROGRESS, PROGRESS, SUCCESS, END)
    assert client.seen == ["start", "flow", PROGRESS, PROGRESS]
    held.let_go()
    assert client.seen[4:] == [SUCCESS + END, "finish"]


def test_a_success_with_more_behind_it_was_not_the_end():
    """A create from a model that has to be pulled first tells of that success, too."""
    client, held = told(False, SUCCESS, PROGRESS, SUCCESS, END)
    assert client.seen == ["start", "flow", SUCCESS, PROGRESS]
    held.let_go()
    assert client.seen[4:] == [SUCCESS + END, "finish"]


def test_a_failure_waits_for_nothing_but_its_end():
    error = b'{"error":"no space left"}\n'
    client, held = told(False, PROGRESS, error + END)
    assert client.seen[-1] == error + END
    held.let_go()
    assert client.seen[-1] == "finish"


def test_a_whole_answer_waits_from_its_first_byte():
    client, held = told(True, b"{}")
    assert client.seen == []
    assert held.status == 200
    held.let_go()
    assert client.seen == ["start", b"{}", "finish"]


def test_an_answer_without_a_body_is_told_too():
    client, held = told(True)
    held.let_go()
    assert client.seen == ["start", "finish"]


def test_more_can_be_said_before_a_success_or_another_end_instead_of_it():
    client, held = told(False, PROGRESS, SUCCESS, END)
    assert held.succeeded
    held.tell(b"more\n")
    held.let_go()
    assert client.seen[-3:] == [b"5\r\nmore\n\r\n", SUCCESS + END, "finish"]
    client, held = told(False, PROGRESS, SUCCESS, END)
    held.end_with(b"no\n")
    held.let_go()
    assert client.seen[-2:] == [b"3\r\nno\n\r\n" + END, "finish"]


@pytest.mark.parametrize("framed", [chunk, bytes], ids=["chunks", "lines"])
def test_what_comes_together_with_a_success_passes_before_it(framed):
    client, held = told(False, framed(PROGRESS) + framed(PROGRESS) + framed(SUCCESS) + END)
    assert client.seen[2:] == [framed(PROGRESS) * 2]
    held.let_go()
    assert client.seen[3:] == [framed(SUCCESS) + END, "finish"]


def test_only_an_answer_that_ends_with_it_is_a_success():
    assert told(True, SUCCESS.strip())[1].succeeded
    for pieces in ([PROGRESS, END], [SUCCESS, PROGRESS, END], []):
        assert not told(False, *pieces)[1].succeeded
    held = HeldBack(Client(), whole=False)
    held.start(HEAD, ())
    held.write(SUCCESS)
    assert not held.succeeded, "its end has not come"


@given(st.lists(st.sampled_from([PROGRESS, SUCCESS, b"", END, b"x"])), st.booleans())
def test_in_the_end_a_client_has_heard_everything_in_order(pieces, whole):
    client, held = told(whole, *pieces)
    held.let_go()
    heard = b"".join(item for item in client.seen if isinstance(item, bytes))
    assert heard == b"".join(pieces)
    assert client.seen[-1] == "finish"


@pytest.mark.parametrize(("whole", "seen"), [(False, ["start", "flow", b"x", "reset"]), (True, [])])
def test_an_answer_that_breaks_off_is_reset_only_where_some_of_it_was_sent(whole, seen):
    client = Client()
    held = HeldBack(client, whole=whole)
    held.start(HEAD, ())
    held.flow(lambda: None, lambda: None)
    held.write(b"x")
    held.reset()
    held.let_go()
    assert client.seen == seen
