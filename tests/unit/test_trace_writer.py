"""Spans are sent by a thread that nobody waits for; what cannot be sent is counted."""

import logging
import random
import threading
import time

from made_records import made

from ollama_fleet.tracing import Sampling, Traces
from ollama_fleet.tracing.writer import SpanWriter


class Exporter:
    """Takes what it is told to; holds the first batch until it is let go."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.batches = []
        self.holds = threading.Event()
        self.go = threading.Event()

    def export(self, batch):
        self.batches.append(list(batch))
        self.holds.set()
        assert self.go.wait(20)
        answer = self.answers.pop(0) if self.answers else ""
        if isinstance(answer, Exception):
            raise answer
        return answer

    def shutdown(self):
        self.go.set()


def ended(count, *, share=1.0):
    traces = Traces(Sampling(share), random.Random(1))
    made_by = [traces.begin((), 0.0) for _ in range(count)]
    for trace in made_by:
        trace.attempt("http://127.0.0.1:1", 0.0)
    return [(trace, made()) for trace in made_by]


def writer(exporter, *, waiting=100, batch=4, pause_s=0.0):
    return SpanWriter(exporter, waiting=waiting, batch=batch, pause_s=pause_s, clock=time.monotonic)


def test_spans_say_what_the_fleets_clients_speak():
    exporter = Exporter()
    exporter.go.set()
    usual = {"waiting": 9, "batch": 9, "pause_s": 0.0, "clock": time.monotonic}
    for scheme in ("http", "https"):
        one = SpanWriter(exporter, **usual, scheme=scheme)
        one.add(ended(1))
        one.close()
    requests = [batch[0].attributes["url.scheme"] for batch in exporter.batches]
    assert requests == ["http", "https"]


def test_every_span_is_sent_once_in_batches():
    exporter = Exporter()
    exporter.go.set()
    one, requests = writer(exporter), ended(9)
    one.add(requests)
    one.close()
    sent = [span.span_id for batch in exporter.batches for span in batch]
    expected = [i for trace, _ in requests for i in (trace.span_id, trace.tries[0].span_id)]
    assert sent == expected
    assert max(map(len, exporter.batches)) <= 4
    assert (one.sent, one.dropped) == (18, 0)


def test_what_is_not_sampled_is_not_sent():
    exporter = Exporter()
    exporter.go.set()
    one = writer(exporter)
    one.add([*ended(3, share=0.0), (None, made())])
    one.close()
    assert (exporter.batches, one.sent, one.dropped) == ([], 0, 0)


def test_a_collector_that_hangs_holds_nobody_up_and_what_is_too_much_is_counted(caplog):
    """The first request is being sent; two wait; each of the rest is two spans dropped."""
    exporter = Exporter()
    one = writer(exporter, waiting=2, batch=1)
    one.add(ended(1))
    assert exporter.holds.wait(20)
    one.add(ended(5))
    assert one.dropped == 6
    exporter.go.set()
    with caplog.at_level(logging.WARNING):
        one.close(20)
    assert (one.sent, one.dropped) == (6, 6)
    assert [record.dropped for record in caplog.records] == [6]
    assert caplog.records[0].getMessage() == "spans were dropped: too many at once"


def test_what_the_collector_does_not_take_is_counted_and_the_next_has_its_chance(caplog):
    exporter = Exporter("it is away", ValueError("odd"), "")
    exporter.go.set()
    one = writer(exporter, batch=2)
    one.add(ended(3))
    one.close(20)
    assert (one.sent, one.dropped) == (2, 4)
    assert [record.getMessage() for record in caplog.records] == [
        "spans were dropped: it is away",
        "spans were dropped: ValueError('odd')",
    ]


def test_a_request_of_which_no_spans_can_be_made_costs_no_other_its_own(caplog):
    exporter = Exporter()
    exporter.go.set()
    one = writer(exporter)
    good, (trace, record) = ended(1), ended(1)[0]
    trace.tries[0].base_url = "http://[::1"
    one.add([(trace, record), *good])
    one.close(20)
    assert (one.sent, one.dropped) == (2, 2)
    assert "spans were dropped: ValueError" in caplog.records[0].getMessage()


def test_the_end_does_not_wait_for_a_collector_that_hangs(caplog):
    exporter = Exporter()
    one = writer(exporter, batch=1)
    one.add(ended(1))
    assert exporter.holds.wait(20)
    one.close(timeout_s=0.01)
    assert exporter.go.is_set(), "it was told to break off"
    assert "not sent in time" in caplog.text


def test_what_is_added_soon_after_goes_with_it():
    """A batch gathers for a while, so that a quiet fleet does not send each request alone."""
    exporter = Exporter()
    exporter.go.set()
    one = writer(exporter, batch=100, pause_s=60.0)
    one.add(ended(1))
    one.add(ended(1))
    one.close(20)
    assert [len(batch) for batch in exporter.batches] == [4]
