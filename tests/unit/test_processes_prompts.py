"""Requests of a study on processes: of just so many tokens, answered by just so many."""

import json

from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.bench.processes.prompts import Route, request, simulated_prompt
from ollama_fleet.replay.job import Job
from ollama_fleet.sim.ollama.api.conversation import render
from ollama_fleet.sim.ollama.text import common_prefix, tokenise, told_tokens

JOBS = st.builds(
    Job,
    arrival_s=st.just(0.0),
    model=st.just("m"),
    prompt_tokens=st.integers(12, 8000),
    output_tokens=st.integers(1, 2000),
    text=st.integers(0, 46_655),
    stream=st.booleans(),
)


def tokens(job):
    return tokenise(render([("user", simulated_prompt(job))]))


@given(JOBS)
def test_a_prompt_has_the_jobs_tokens_and_tells_the_answers(job):
    assert len(tokens(job)) == job.prompt_tokens
    assert told_tokens(render([("user", simulated_prompt(job))])) == job.output_tokens


@given(JOBS, JOBS)
def test_prompts_of_two_texts_have_only_the_template_in_common(a, b):
    """No cache of a prefix helps, as in a replay of independent requests."""
    template = tokenise("[user]")
    if a.text != b.text:
        assert common_prefix(tokens(a), tokens(b)) <= len(template)


@given(JOBS, st.sampled_from(Route), st.booleans())
def test_a_request_is_whole(job, route, simulated):
    head, _, body = request(job, route, simulated=simulated).partition(b"\r\n\r\n")
    assert head.startswith(f"POST {route.value} HTTP/1.1\r\n".encode())
    assert f"Content-Length: {len(body)}\r\n".encode() in head
    assert json.loads(body)["stream"] is job.stream


@given(JOBS)
def test_who_reads_no_prompts_learns_the_length_of_an_answer_only_from_a_real_models_options(job):
    def asked(*, simulated):
        body = request(job, Route.CHAT, simulated=simulated).partition(b"\r\n\r\n")[2]
        return json.loads(body).get("options", {})

    assert asked(simulated=True) == {}
    assert asked(simulated=False) == {"num_predict": job.output_tokens}
