import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.names import canonical
from ollama_fleet.router.dialect import Dialect
from ollama_fleet.router.intake import inference, read_at_once, read_body


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
        ('{"mode\u0142":"a"}'.encode(), ""),
        ('{"na\u017fme":"a","from":"b"}'.encode(), ""),
        (b'{"model":null,"name":"a"}', "a"),
        (b'{"model":"a","model":null}', "a"),
        (b'{"model":"\\ud83d\\ude00\\ud800"}', "\U0001f600\ufffd"),
        (b'{"pad":"' + b"x" * 300_000 + b'","model":"a"}', "a"),
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


OFTEN = [
    b'{"model":"a","stream":true,"options":{"num_ctx":1},"prompt":"x \\u003c \\n y"}',
    b'{ "model" : "a", "prompt" : "x", "top_p" : 1, "Other" : 2 }',
]
ODD = [
    b'{"model":"a","MODEL":"b"}',
    b'{"model":"a"} trailing',
    b'{"model":null}',
    b'{"options":{},"opti\\u006fns":{}}',
    b'{"options":{},"options":{}}',
    b'{"a":"' + b"x" * 300_000 + b'"}',
]


def test_only_odd_and_large_bodies_take_a_second_reading():
    assert all(read_at_once(body) is not None for body in OFTEN)
    assert all(read_at_once(body) is None for body in ODD)


@pytest.mark.parametrize(
    ("options", "profile"),
    [
        ({"num_ctx": 8192, "temperature": 0.5, "seed": 1}, (("num_ctx", 8192),)),
        ({"use_mmap": False, "num_gpu": 0}, (("num_gpu", 0), ("use_mmap", False))),
        ({"num_thread": 4, "main_gpu": 0, "draft_num_predict": 3, "num_batch": 1}, None),
        ({"num_ctx": 4096.9}, (("num_ctx", 4096),)),
        ({"num_ctx": -4096.9}, (("num_ctx", -4096),)),
        ({"num_gpu": -1}, ()),
        ({"num_ctx": True, "use_mmap": 1, "num_gpu": "3", "num_batch": None, "main_gpu": [1]}, ()),
        ({"num_ctx": 2**63, "num_batch": 1e300}, ()),
        ({"Num_Ctx": 1}, ()),
        ({}, ()),
        ("num_ctx", ()),
        (None, ()),
    ],
)
def test_a_profile_is_what_the_runner_would_be_started_with(options, profile):
    if profile is None:
        profile = tuple(sorted(options.items()))
    body = json.dumps({"model": "m", "options": options}).encode()
    odd = body.replace(b'"options"', b'"OPTIONS"')
    for form in (body, odd):
        wanted = read_body(form, stream_default=True)
        assert wanted.profile == profile
        assert [type(value) for _, value in wanted.profile] == [type(v) for _, v in profile]


def test_options_given_twice_are_one_map_as_in_go():
    body = b'{"options":{"num_ctx":1,"num_gpu":2},"options":{"num_gpu":null,"num_batch":3}}'
    expected = (("num_batch", 3), ("num_ctx", 1))
    assert read_body(body, stream_default=True).profile == expected
    cleared = body.replace(b',"options"', b',"options":null,"options"')
    assert read_body(cleared, stream_default=True).profile == (("num_batch", 3),)


def test_options_that_are_no_json_are_none():
    for body in (b'{"OPTIONS":{x},"model":"m"}', b'{"Options":{},"options":{x},"model":"m"}'):
        wanted = read_body(body, stream_default=True)
        assert (wanted.model, wanted.profile) == ("m", ())


@pytest.mark.parametrize("dialect", Dialect)
def test_only_ollamas_own_api_has_runner_options(dialect):
    wanted = read_body(b'{"model":"m","options":{"num_ctx":1}}', stream_default=True)
    asked = inference("/x", dialect, b"", wanted)
    assert asked.profile == ((("num_ctx", 1),) if dialect is Dialect.OLLAMA else ())


@pytest.mark.parametrize("work", ["prompt", "messages", "input"])
def test_only_a_routes_own_work_keeps_a_request_from_being_an_unload(work):
    for key in ("prompt", "messages", "input"):
        body = json.dumps({"model": "m", "keep_alive": 0, key: ["x"]}).encode()
        wanted = read_body(body, stream_default=True, work=work)
        assert (wanted.empty, wanted.unload) == (key != work, key != work)


def test_a_copy_and_a_create_name_what_they_work_on():
    copy = read_body(b'{"source":"a","destination":"b"}', stream_default=False)
    create = read_body(b'{"model":"c","from":"a"}', stream_default=True)
    assert (copy.source, copy.destination) == ("a", "b")
    assert (create.model, create.source) == ("c", "a")


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
