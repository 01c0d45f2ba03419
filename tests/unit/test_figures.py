"""Figures: what the end of an answer says is read in every dialect, and nothing else of it."""

import pytest

from ollama_fleet.router.dialect import Dialect, Figures, figures

OLLAMA = (
    b'"done":true,"done_reason":"stop","context":[1,2,3],"total_duration":9000000000,'
    b'"load_duration":1000000000,"prompt_eval_count":8,"prompt_eval_duration":2000000000,'
    b'"eval_count":12,"eval_duration":6000000000}\n'
)
OPENAI = (
    b'data: {"choices":[],"usage":{"prompt_tokens":8,"completion_tokens":12,"total_tokens":20}}'
    b"\n\ndata: [DONE]\n\n"
)
RESPONSES = (
    b'event: response.completed\ndata: {"response":{"usage":{"input_tokens":8,'
    b'"input_tokens_details":{"cached_tokens":0},"output_tokens":12,"total_tokens":20}}}\n\n'
)
STARTS = (
    b'a\r\nevent: message_start\ndata: {"type":"message_start","message":{"usage":'
    b'{"input_tokens":8,"output_tokens":0}}}\n\n'
)
STOPS = (
    b'event: message_delta\ndata: {"type":"message_delta","usage":{"output_tokens":12}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)
MESSAGE = b'{"type":"message","usage":{"input_tokens":8,"output_tokens":12}}'
COUNTED = Figures(prompt_tokens=8, output_tokens=12)
# What a model may write, as it stands in JSON, and what stands before the end of an answer.
TEXT = rb'{"content":"\"total_duration\":1,\"eval_count\":7,\"usage\":{\"input_tokens\":7"},'


@pytest.mark.parametrize("before", [b"", TEXT, b'data: {"choices":[{}],"usage":null}\n\n' * 40])
@pytest.mark.parametrize(
    ("dialect", "end", "told"),
    [
        (Dialect.OLLAMA, OLLAMA, Figures(8, 12, 1.0, 2.0, 6.0)),
        (Dialect.OLLAMA, OLLAMA + b"\r\n0\r\n\r\n", Figures(8, 12, 1.0, 2.0, 6.0)),
        (Dialect.OLLAMA, OLLAMA.replace(b",", b",\r\n3c\r\n"), Figures(8, 12, 1.0, 2.0, 6.0)),
        (Dialect.OLLAMA, OLLAMA.replace(b"9000000000", b"-9"), Figures(8, 12, 1.0, 2.0, 6.0)),
        (Dialect.OLLAMA, OLLAMA.replace(b":12,", b":-1,"), Figures(8, 0, 1.0, 2.0, 6.0)),
        (Dialect.OLLAMA, OLLAMA.replace(b":12,", b":%d," % 10**18), Figures(8, 0, 1.0, 2.0, 6.0)),
        (Dialect.OLLAMA, OLLAMA[: -len(b',"eval_duration":6000000000}')], Figures(8, 12, 1.0, 2.0)),
        (Dialect.OLLAMA, b'"load_duration":1000000000,"eval_count":3}', Figures(0, 3, 1.0)),
        (Dialect.OPENAI, OPENAI, COUNTED),
        (Dialect.RESPONSES, RESPONSES, COUNTED),
        (Dialect.ANTHROPIC, STARTS + STOPS, COUNTED),
        (Dialect.ANTHROPIC, STOPS, Figures(output_tokens=12)),
        (Dialect.ANTHROPIC, MESSAGE, COUNTED),
        (Dialect.OPENAI, b"data: [DONE]\n\n", Figures()),
    ],
)
def test_the_figures_are_those_that_stand_last(dialect, before, end, told):
    assert figures(dialect, before + end) == told
    assert figures(dialect, before + b'"eval_count":5,"input_tokens":5' + end).output_tokens == (
        told.output_tokens
    )
