"""A fleet with no room says so as clients know it, and says when to come again."""

import re
from contextlib import contextmanager

import anthropic
import ollama
import openai
import pytest
from fleet_process import until
from served_fleet import SCALE, ServedFleet
from talk import BUSY, HELLO, MODEL

ONE_SLOT = """
defaults: { num_parallel: 1 }
queue: { limit: 0 }
groups: [{ name: one, gpus: [3] }]
"""
LIBRARIES = {
    "openai": (openai, openai.OpenAI, "/v1"),
    "anthropic": (anthropic, anthropic.Anthropic, ""),
}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """A fleet with a single slot, in front of which nobody may wait."""
    made = ServedFleet(tmp_path_factory.mktemp("small"), config=ONE_SLOT, **SCALE)
    made.run("up", "-d", "--wait", "--simulate", "4-mixed")
    yield made
    made.run("down")


@pytest.fixture
def occupied(fleet):
    """The slot is taken by a stream; the function that is given lets go of it."""
    until(lambda: not fleet.in_flight(), what="a free slot")
    with ollama.Client(host=fleet.base) as client:
        stream = client.chat(MODEL, HELLO, stream=True, options={"num_predict": 80_000})
        next(stream)
        yield stream.close
        stream.close()


@contextmanager
def connected(fleet, library, **more):
    _, make, path = LIBRARIES[library]
    with make(base_url=fleet.base + path, api_key="none", **more) as client:
        yield client


def ask(client, library):
    """A short chat; how many tokens it had."""
    asked = {"model": MODEL, "messages": HELLO, "max_tokens": 2}
    if library == "anthropic":
        return client.messages.create(**asked).usage.output_tokens
    return client.chat.completions.create(**asked).usage.completion_tokens


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_client_that_is_refused_comes_again_when_it_was_told_to(fleet, occupied, caplog, library):
    """Its caller notices nothing. The slot comes free between its first try and the second."""
    tries = []

    def seen(response):
        tries.append((response.status_code, response.headers.get("retry-after")))
        occupied()
        until(lambda: not fleet.in_flight(), what="the end of what held the slot")

    module = LIBRARIES[library][0]
    http = module.DefaultHttpxClient(event_hooks={"response": [seen]})
    caplog.set_level("INFO", logger=module.__name__)
    with connected(fleet, library, http_client=http) as client:
        assert ask(client, library) == 2
    assert tries == [(503, "1"), (200, None)]
    # Its own guess would be less than that, and never a round number.
    assert re.findall(r"Retrying request .*in ([\d.]+) seconds", caplog.text) == ["1.000000"]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.usefixtures("occupied")
def test_a_client_that_may_not_come_again_raises_in_its_own_class(fleet, library):
    module = LIBRARIES[library][0]
    with (
        connected(fleet, library, max_retries=0) as client,
        pytest.raises(module.InternalServerError, match=BUSY) as refused,
    ):
        ask(client, library)
    assert refused.value.status_code == 503
    assert refused.value.response.headers["retry-after"] == "1"


@pytest.mark.usefixtures("occupied")
def test_ollamas_client_reads_ollamas_own_words(fleet):
    with (
        ollama.Client(host=fleet.base) as client,
        pytest.raises(ollama.ResponseError, match=BUSY) as refused,
    ):
        client.chat(MODEL, HELLO)
    assert refused.value.status_code == 503
