"""PyPI's libraries with keys of the fleet: each sends its own in its own way, and knows the errors.

The fleet is on loopback and asks nobody for a key; who brings one is bound by it all the same.
"""

import anthropic
import ollama
import openai
import pytest
from fleet_process import until
from talk import HELLO, MODEL, WITHOUT_TOOLS

UNKNOWN = "fleet_" + "0" * 40


@pytest.fixture(scope="module")
def key(fleet):
    """Of a user with one model and two requests a day."""
    made = fleet.run("keys", "add", "lib", "--model", MODEL, "--rate", "2/d").stdout.strip()
    until(lambda: _is_known(fleet, made), what="the key")
    yield made
    fleet.run("keys", "rm", "lib")


def _is_known(fleet, key):
    with ollama.Client(f"{fleet.base}/k/{key}") as client:
        try:
            return client.list()
        except ollama.ResponseError:
            return None


def test_ollamas_library_sends_it_in_a_header_or_in_the_path(fleet, key):
    in_header = {"headers": {"Authorization": f"Bearer {key}"}}
    for host, options in ((fleet.base, in_header), (f"{fleet.base}/k/{key}", {})):
        with ollama.Client(host, **options) as client:
            assert [model.model for model in client.list().models] == [MODEL]
            assert client.show(MODEL).capabilities
            with pytest.raises(ollama.ResponseError, match="not found, or not for this key"):
                client.show(WITHOUT_TOOLS)
            with pytest.raises(ollama.ResponseError, match="this is for admins") as refused:
                client.pull(MODEL)
            assert refused.value.status_code == 403
    with ollama.Client(f"{fleet.base}/k/{UNKNOWN}") as client:
        with pytest.raises(ollama.ResponseError, match="this key is not known") as refused:
            client.list()
        assert refused.value.status_code == 401


def test_openais_and_anthropics_know_what_is_wrong(fleet, key):
    """Two requests are within the key's budget; what is refused for another reason is not one."""
    with (
        openai.OpenAI(base_url=f"{fleet.base}/v1", api_key=key, max_retries=0) as ours,
        openai.OpenAI(base_url=f"{fleet.base}/v1", api_key=UNKNOWN, max_retries=0) as others,
        anthropic.Anthropic(base_url=fleet.base, api_key=key, max_retries=0) as claude,
        anthropic.Anthropic(base_url=fleet.base, api_key=UNKNOWN, max_retries=0) as stranger,
    ):
        assert [model.id for model in ours.models.list()] == [MODEL]
        with pytest.raises(openai.NotFoundError):
            ours.models.retrieve(WITHOUT_TOOLS)
        with pytest.raises(openai.AuthenticationError) as refused:
            others.models.list()
        assert refused.value.code == "invalid_api_key"
        with pytest.raises(anthropic.AuthenticationError):
            stranger.messages.create(model=MODEL, max_tokens=2, messages=HELLO)
        answer = ours.chat.completions.with_raw_response.create(
            model=MODEL, messages=HELLO, max_tokens=2
        )
        assert answer.parse().choices[0].message.content
        assert answer.headers["x-ratelimit-remaining-requests"] == "1"
        assert claude.messages.create(model=MODEL, max_tokens=2, messages=HELLO).content
        with pytest.raises(anthropic.RateLimitError):
            claude.messages.create(model=MODEL, max_tokens=2, messages=HELLO)
        with pytest.raises(openai.RateLimitError) as used_up:
            ours.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=2)
        assert int(used_up.value.response.headers["retry-after"]) > 3600
