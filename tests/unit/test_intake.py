import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.names import canonical
from ollama_fleet.router.dialect import Dialect
from ollama_fleet.router.intake import inference, read_body


@pytest.mark.parametrize(
    ("body", "model"),
    [
        (b'{"model":"a"}', "a"),
        (b'{"Model":"a"}', "a"),
        (b'{"model":"a","model":"b"}', "b"),
        (b'{"model":"a","MODEL":"b"}', "b"),
        (b'{"model":"a","MODEL":null}', "a"),
        (b'{"mod\\u0065l":"b"}', "b"),
        (b'{"model":"a","mod\\u0065l":"b"}', "b"),
        (b'{"name":"a"}', "a"),
        (b'{"model":"a"} trailing', "a"),
        (b'{"messages":[{"model":"inner"}],"model":"outer"}', "outer"),
        (b'{"model":5}', ""),
        (b'{"model":["a"]}', ""),
        (b'["model"]', ""),
        (b"", ""),
        (b"not json", ""),
        (b'{"model":"a', ""),
        (b"[" * 100_000, ""),
        (b'\xff{"model":"a"}', ""),
        (b'{"model":"\xff"}', "�"),
    ],
)
def test_the_model_is_read_as_go_reads_it(body, model):
    assert read_body(body, stream_default=True).model == model


@pytest.mark.parametrize(
    ("body", "default", "stream"),
    [
        (b'{"model":"a"}', True, True),
        (b'{"model":"a"}', False, False),
        (b'{"model":"a","stream":false}', True, False),
        (b'{"model":"a","stream":true}', False, True),
        (b'{"model":"a","Stream":true}', False, True),
    ],
)
def test_the_stream_flag_has_its_routes_default(body, default, stream):
    if b"Stream" in body:
        body = body.replace(b'"model"', b'"Model"')  # folded keys are read in the exact pass
    assert read_body(body, stream_default=default).stream is stream


@given(st.binary(max_size=200))
def test_no_body_raises(body):
    read_body(body, stream_default=True)


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=5), st.text(max_size=9))
def test_a_plain_object_gives_the_model_it_names(fields, model):
    fields = {k: v for k, v in fields.items() if k.casefold() not in ("model", "name", "stream")}
    body = json.dumps({**fields, "model": model}).encode()
    assert read_body(body, stream_default=True).model == model


def test_a_request_takes_the_slot_of_its_models_key():
    request = record(b'{"model":"Llama3"}')
    assert request.slot == request.key == canonical("llama3:latest")
    assert record(b"{}").slot == ""
    assert record(b'{"model":"m","keep_alive":0}').slot == "", "an unload runs nothing"


def record(body):
    wanted = read_body(body, stream_default=True)
    return inference("/api/chat", Dialect.OLLAMA, body, wanted)


@pytest.mark.parametrize(
    ("body", "unload"),
    [
        (b'{"model":"m","keep_alive":0}', True),
        (b'{"model":"m","keep_alive":"0s","prompt":""}', True),
        (b'{"model":"m","keep_alive":0,"messages":[]}', True),
        (b'{"Model":"m","keep_alive":0,"messages":[]}', True),
        (b'{"model":"m","keep_alive":0,"prompt":"x"}', False),
        (b'{"model":"m","keep_alive":0,"messages":[{}]}', False),
        (b'{"Model":"m","keep_alive":0,"messages":[{}]}', False),
        (b'{"model":"m","keep_alive":"5m"}', False),
        (b'{"model":"m","keep_alive":"soon"}', False),
        (b'{"model":"m","keep_alive":-1}', False),
        (b'{"model":"m"}', False),
    ],
)
def test_an_unload_is_an_empty_request_that_keeps_nothing(body, unload):
    assert read_body(body, stream_default=True).unload is unload
