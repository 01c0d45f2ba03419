"""JSON, structs and times as Go has them; texts and numbers are those of a real Ollama 0.20.0."""

import contextlib
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.sim.ollama.api import schemas
from ollama_fleet.sim.ollama.golang.binding import BindingError, bind, plain
from ollama_fleet.sim.ollama.golang.json import (
    EmptyBodyError,
    SyntaxProblemError,
    decode,
    encode,
)
from ollama_fleet.sim.ollama.golang.time import keep_alive, rfc3339

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)
MAP = "map[string]interface {}"
UNNAMED = r'struct { Role string "json:\"role\""; Content json.RawMessage "json:\"content\"" }'
LOOKING = "looking for beginning of"


class TestDecode:
    @given(values)
    def test_what_python_writes_is_read_back(self, value):
        assert plain(decode(json.dumps(value).encode() + b" trailing")) == value

    @given(values)
    def test_what_is_encoded_is_read_back(self, value):
        assert json.loads(encode(value)) == value

    def test_html_is_escaped(self):
        assert encode({"a": "<|x|> & é"}) == '{"a":"\\u003c|x|\\u003e \\u0026 é"}'.encode()

    @pytest.mark.parametrize(
        ("body", "text"),
        [
            ("{", "unexpected EOF"),
            ("hello", f"invalid character 'h' {LOOKING} value"),
            ("\ufeff{}", f"invalid character 'ï' {LOOKING} value"),  # the first of its bytes
            ('{"model" "x"}', "invalid character '\"' after object key"),
            ('{"model":"x",}', f"invalid character '}}' {LOOKING} object key string"),
            ('{"model":"x" "y"}', "invalid character '\"' after object key:value pair"),
            ('{"a":[1 2]}', "invalid character '2' after array element"),
            ('{"a":tru}', "invalid character '}' in literal true (expecting 'e')"),
            ('{"a":tru', "unexpected EOF"),
            ('{"a":"x\ny"}', "invalid character '\\n' in string literal"),
            ('{"a":"x\\qy"}', "invalid character 'q' in string escape code"),
            ('{"a":01}', "invalid character '1' after object key:value pair"),
            ("{a:1}", f"invalid character 'a' {LOOKING} object key string"),
            ('{"a":-}', "invalid character '}' in numeric literal"),
            ('{"a":NaN}', f"invalid character 'N' {LOOKING} value"),
            ('{"a":"abc', "unexpected EOF"),
            ('{"a":[1,', "unexpected EOF"),
        ],
    )
    def test_errors_have_gos_texts(self, body, text):
        with pytest.raises(SyntaxProblemError) as error:
            decode(body.encode())
        assert str(error.value) == text

    @pytest.mark.parametrize("body", [b"", b" \n\t"])
    def test_a_body_without_a_value_is_empty(self, body):
        with pytest.raises(EmptyBodyError):
            decode(body)

    @given(st.binary(max_size=40))
    def test_any_bytes_are_a_value_or_one_of_the_two_errors(self, body):
        with contextlib.suppress(EmptyBodyError, SyntaxProblemError):
            decode(body)


class TestBind:
    def fields(self, text, struct=schemas.GENERATE):
        return bind(decode(text.encode()), struct)

    def test_keys_are_folded_and_the_last_one_wins(self):
        assert self.fields('{"Model":"a","MODEL":"b","x":1}') == {"model": "b"}

    def test_null_leaves_what_was_there(self):
        assert self.fields('{"model":"a","model":null}') == {"model": "a"}
        assert self.fields("null") == {}

    @pytest.mark.parametrize(
        ("body", "struct", "text"),
        [
            ("[]", schemas.GENERATE, "array into Go value of type api.GenerateRequest"),
            ('"x"', schemas.GENERATE, "string into Go value of type api.GenerateRequest"),
            (
                '{"prompt":5}',
                schemas.GENERATE,
                "number into Go struct field GenerateRequest.prompt of type string",
            ),
            (
                '{"options":5}',
                schemas.GENERATE,
                f"number into Go struct field GenerateRequest.options of type {MAP}",
            ),
            (
                '{"context":["x"]}',
                schemas.GENERATE,
                "string into Go struct field GenerateRequest.context of type int",
            ),
            (
                '{"images":"x"}',
                schemas.GENERATE,
                "string into Go struct field GenerateRequest.images of type []api.ImageData",
            ),
            (
                '{"messages":5}',
                schemas.CHAT,
                "number into Go struct field ChatRequest.messages of type []api.Message",
            ),
            (
                '{"messages":["x"]}',
                schemas.CHAT,
                "string into Go struct field ChatRequest.messages of type api.Alias",
            ),
            (
                '{"messages":[{"content":5}]}',
                schemas.CHAT,
                "number into Go struct field ChatRequest.messages.content of type string",
            ),
            (
                '{"prompt":["hi"]}',
                schemas.V1_COMPLETION,
                "array into Go struct field CompletionRequest.prompt of type string",
            ),
            (
                '{"max_tokens":1.5}',
                schemas.V1_COMPLETION,
                "number 1.5 into Go struct field CompletionRequest.max_tokens of type int",
            ),
            (
                '{"stream_options":{"include_usage":1}}',
                schemas.V1_CHAT,
                "number into Go struct field StreamOptions.stream_options.include_usage of type bool",  # noqa: E501  # its words
            ),
            (
                '{"tools":"x"}',
                schemas.CHAT,
                "string into Go struct field ChatRequest.tools of type api.Tools",
            ),
            (
                '{"tools":"x"}',
                schemas.V1_CHAT,
                "string into Go struct field ChatCompletionRequest.tools of type []api.Tool",
            ),
            (
                '{"tools":[{"function":{"name":1}}]}',
                schemas.CHAT,
                "number into Go struct field ToolFunction.tools.function.name of type string",
            ),
            (
                '{"messages":[{"tool_calls":[{"id":1}]}]}',
                schemas.CHAT,
                "number into Go struct field ChatRequest.messages.tool_calls.id of type string",
            ),
            (
                '{"messages":[{"tool_calls":[{"function":{"name":1}}]}]}',
                schemas.V1_CHAT,
                "number into Go struct field .messages.tool_calls.function.name of type string",
            ),
            (
                '{"messages":[1]}',
                schemas.MESSAGES,
                f"number into Go struct field MessagesRequest.messages of type {UNNAMED}",
            ),
        ],
    )
    def test_a_wrong_type_has_gos_text(self, body, struct, text):
        with pytest.raises(BindingError) as error:
            self.fields(body, struct)
        assert str(error.value) == f"json: cannot unmarshal {text}"

    @pytest.mark.parametrize("given", ["[]", "1", '"x"'])
    def test_a_map_that_keeps_its_order_has_words_of_its_own(self, given):
        body = f'{{"messages":[{{"tool_calls":[{{"function":{{"arguments":{given}}}}}]}}]}}'
        with pytest.raises(BindingError, match="Value looks like object, but can't"):
            self.fields(body, schemas.CHAT)


class TestTime:
    def test_trailing_zeros_are_cut(self):
        assert rfc3339(1_795_247_078_676_199_880) == "2026-11-21T07:44:38.67619988Z"
        assert rfc3339(1_795_247_078_000_000_000) == "2026-11-21T07:44:38Z"

    @pytest.mark.parametrize(
        ("value", "seconds"), [(5, 5.0), (-1, -1.0), ("10m", 600.0), ("0", 0.0), ("1h30m", 5400.0)]
    )
    def test_keep_alive_is_seconds_or_a_duration(self, value, seconds):
        assert keep_alive(value) == seconds

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ("soon", 'time: invalid duration "soon"'),
            ("300", 'time: missing unit in duration "300"'),
            (True, "Unsupported type: 'bool'"),
            ([], "Unsupported type: '[]interface {}'"),
            ({}, "Unsupported type: 'map[string]interface {}'"),
        ],
    )
    def test_a_bad_keep_alive_has_gos_text(self, value, text):
        with pytest.raises(ValueError, match=re.escape(text)):
            keep_alive(value)
