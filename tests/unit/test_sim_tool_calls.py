"""Tool calls as Ollama 0.20.0 writes them, byte for byte, in each dialect, streamed and whole.

The shapes are those of its source: server/routes.go (ChatHandler), openai/openai.go (toChunk,
ToChatCompletion), anthropic/anthropic.go (StreamConverter, ToMessagesResponse) and
openai/responses.go (ResponsesStreamConverter, ToResponse). Times, durations and ids are masked.
"""

import asyncio
import json
import re

import pytest
from virtual_time import run

from ollama_fleet.sim.ollama.api.routes import Routes
from ollama_fleet.sim.ollama.catalogue import install_profile
from ollama_fleet.sim.ollama.environment import read
from ollama_fleet.sim.ollama.faults import Faults
from ollama_fleet.sim.ollama.serve import _assemble
from ollama_fleet.sim.ollama.store import Store
from ollama_fleet.sim.ollama.wire.body import Body
from ollama_fleet.sim.ollama.wire.exchange import Exchange
from ollama_fleet.sim.ollama.wire.head import parse

PROFILE = """
cpu: &cpu
  { prefill_tokens_per_s: 100, decode_base_s: 0.1, decode_per_busy_s: 0.1, load_bytes_per_s: 1MB }
models:
  - &m { name: m, size: 1MB, parameter_size: 1M, quantization: F16, family: llama, tools: true }
  - { <<: *m, name: plain, tools: false }
installed: [m, plain]
"""
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
}
FUNCTIONS = [
    {"type": "function", "function": {"name": name, "parameters": SCHEMA if needs else {}}}
    for name, needs in (("weather", True), ("time", False))
]
BLOCKS = [
    {"name": "weather", "description": "now", "input_schema": SCHEMA},
    {"name": "time", "input_schema": {"type": "object"}},
]
FLAT = [{"type": "function", "name": "weather", "parameters": SCHEMA}]
ASKED = [{"role": "user", "content": "weather, then time"}]
ONE = [{"role": "user", "content": "the weather"}]
GIVEN = '{"city":"city","days":1}'
TEXT = json.dumps(GIVEN)  # as a string in JSON
MASKED = re.compile(
    r'"(created_at|created|completed_at|\w+_duration)":(?:\d+|"[^"]*")'
    r'|"(id|item_id|call_id)":"([a-z]+)[-_][\w-]+"'
)


class Wire:
    """A transport that keeps what is written."""

    def __init__(self):
        self.written = []

    def write(self, data):
        self.written.append(data)

    def resume_reading(self):
        pass


class Simulated:
    """The endpoints over a store, on virtual time."""

    def __init__(self, folder):
        profile = folder / "profile.yaml"
        profile.write_text(PROFILE)
        environment = {"OLLAMA_MODELS": str(folder), "OLLAMA_SIM_PROFILE": str(profile)}
        self.settings = read(environment)
        self.store = Store(folder)
        install_profile(self.store, self.settings.profile)

    def ask(self, path, body):
        """Status line and the pieces of an answer, as they were written."""
        return run(self._ask(path, json.dumps(body).encode()))

    async def _ask(self, path, content):
        service, _ = _assemble(self.settings, Faults(), self.store)
        service.engine.clock = asyncio.get_running_loop().time
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}"
        body = Body(len(content))
        body.feed(bytearray(content))
        wire = Wire()
        await Routes(service).handle(Exchange(parse(head.encode()), body, wire))
        first, *pieces = wire.written
        if pieces[-1] == b"0\r\n\r\n":
            pieces = [piece.partition(b"\r\n")[2][:-2] for piece in pieces[:-1]]
        return first.partition(b"\r\n")[0], [masked(piece.decode()) for piece in pieces]

    def pieces(self, path, **body):
        status_line, pieces = self.ask(path, {"model": "m", **body})
        assert status_line == b"HTTP/1.1 200 OK"
        return pieces

    def refusal(self, path, **body):
        status_line, pieces = self.ask(path, {"model": "m", **body})
        assert status_line == b"HTTP/1.1 400 Bad Request"
        return json.loads("".join(pieces))["error"]["message"]


def masked(text):
    return MASKED.sub(lambda m: f'"{m[1]}":0' if m[1] else f'"{m[2]}":"{m[3]}_x"', text)


def events(pieces):
    """The names of events, each with its data, read strictly: one event in a piece."""
    return [re.fullmatch(r"event: ([\w.]+)\ndata: (.*)\n\n", piece).groups() for piece in pieces]


@pytest.fixture(scope="module")
def sim(tmp_path_factory):
    return Simulated(tmp_path_factory.mktemp("store"))


HEAD = '{"model":"m","created_at":0,"message":{"role":"assistant","content":""'
FIGURES = (
    '"total_duration":0,"load_duration":0,"prompt_eval_count":%s,"prompt_eval_duration":0,'
    '"eval_count":%s,"eval_duration":0}'
)
CALL = f'{{"id":"call_x","function":{{"index":0,"name":"weather","arguments":{GIVEN}}}}}'
SECOND = '{"id":"call_x","function":{"index":1,"name":"time","arguments":{}}}'


class TestNative:
    def test_a_stream_has_a_record_for_each_call_and_then_the_figures(self, sim):
        """No record for the tokens a call is said with, though they count."""
        first, second, last = sim.pieces("/api/chat", messages=ASKED, tools=FUNCTIONS)
        assert first == HEAD + ',"tool_calls":[' + CALL + ']},"done":false}\n'
        assert second == HEAD + ',"tool_calls":[' + SECOND + ']},"done":false}\n'
        figures = FIGURES % tuple(re.findall(r'eval_count":(\d+)', last))
        assert last == HEAD + '},"done":true,"done_reason":"stop",' + figures + "\n"

    def test_a_whole_answer_has_all_calls(self, sim):
        (whole,) = sim.pieces("/api/chat", messages=ASKED, tools=FUNCTIONS, stream=False)
        assert whole.startswith(
            HEAD + f',"tool_calls":[{CALL},{SECOND}]}},"done":true,"done_reason":"stop",'
        )

    def test_a_limit_in_a_call_leaves_nothing_to_see(self, sim):
        """Ollama's parser gives back nothing of a call that did not end."""
        body = {"messages": ONE, "tools": FUNCTIONS, "options": {"num_predict": 5}}
        (only,) = sim.pieces("/api/chat", **body)
        assert only.startswith(HEAD + '},"done":true,"done_reason":"length",')
        assert '"eval_count":5,' in only

    def test_whoever_is_not_asked_for_a_tool_talks(self, sim):
        """Not for tools alone, not after a tool's answer, not because another role names it."""
        result = [*ONE, {"role": "assistant", "tool_calls": []}, {"role": "tool", "content": "sun"}]
        for messages in (
            [{"role": "user", "content": "hi"}],
            result,
            [{"role": "system", "content": "weather"}],
        ):
            body = {"messages": messages, "tools": FUNCTIONS, "options": {"num_predict": 2}}
            words = [json.loads(piece)["message"] for piece in sim.pieces("/api/chat", **body)]
            assert [set(word) for word in words] == [{"role", "content"}] * 3
            assert words[0]["content"]


class TestOpenAI:
    EVENT = (
        'data: {"id":"chatcmpl_x","object":"chat.completion.chunk","created":0,"model":"m",'
        '"system_fingerprint":"fp_ollama","choices":%s'
    )
    CHOICE = '[{"index":0,"delta":{"role":"assistant","content":""%s},"finish_reason":%s}]'
    CALLS = tuple(
        f'{{"id":"call_x","index":{index},"type":"function","function":{{"name":"{name}",'
        f'"arguments":{given}}}}}'
        for index, name, given in ((0, "weather", TEXT), (1, "time", '"{}"'))
    )

    def test_a_stream_has_an_event_for_each_call_and_ends_for_their_sake(self, sim):
        body = {"messages": ASKED, "tools": FUNCTIONS, "stream": True}
        *called, last = sim.pieces(
            "/v1/chat/completions", **body, stream_options={"include_usage": True}
        )
        assert called == [
            self.EVENT % (self.CHOICE % (f',"tool_calls":[{call}]', "null")) + "}\n\n"
            for call in self.CALLS
        ]
        end, usage, mark, nothing = last.split("\n\n")
        assert end == self.EVENT % (self.CHOICE % ("", '"tool_calls"')) + "}"
        assert re.fullmatch(re.escape(self.EVENT % "[]") + r',"usage":\{"prompt_.*\}\}', usage)
        assert (mark, nothing) == ("data: [DONE]", "")

    def test_a_whole_answer_has_all_calls(self, sim):
        (whole,) = sim.pieces("/v1/chat/completions", messages=ASKED, tools=FUNCTIONS)
        calls = ",".join(self.CALLS)
        assert (
            '"choices":[{"index":0,"message":{"role":"assistant","content":"",'
            f'"tool_calls":[{calls}]}},"finish_reason":"tool_calls"}}],"usage":' in whole
        )

    def test_a_tools_answer_goes_on_with_the_conversation(self, sim):
        call = {
            "id": "call_1",
            "type": "function",
            "function": {"name": "weather", "arguments": GIVEN},
        }
        history = [
            *ONE,
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "the weather is fine"},
        ]
        body = {"messages": history, "tools": FUNCTIONS, "max_tokens": 3}
        (whole,) = sim.pieces("/v1/chat/completions", **body)
        (choice,) = json.loads(whole)["choices"]
        assert choice["finish_reason"] == "length"
        assert choice["message"]["content"]

    @pytest.mark.parametrize("given", ["", "[", "[]", "1"])
    def test_earlier_arguments_that_are_no_object_are_refused(self, sim, given):
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": given}}
        history = [*ONE, {"role": "assistant", "tool_calls": [call]}]
        assert (
            sim.refusal("/v1/chat/completions", messages=history) == "invalid tool call arguments"
        )

    def test_only_a_message_that_calls_may_say_nothing(self, sim):
        history = [*ONE, {"role": "assistant", "content": None}]
        refusal = sim.refusal("/v1/chat/completions", messages=history)
        assert refusal == "invalid message content type: <nil>"


class TestAnthropic:
    @staticmethod
    def block(index, name, given):
        begun = f'{{"type":"tool_use","id":"call_x","name":"{name}","input":{{}}}}'
        delta = f'{{"type":"input_json_delta","partial_json":{given}}}'
        for kind, more in (
            ("content_block_start", f',"content_block":{begun}'),
            ("content_block_delta", f',"delta":{delta}'),
            ("content_block_stop", ""),
        ):
            yield kind, f'{{"type":"{kind}","index":{index}{more}}}'

    def test_a_stream_has_a_block_for_each_call(self, sim):
        body = {"messages": ASKED, "tools": BLOCKS, "max_tokens": 99, "stream": True}
        (begun, start), *blocks, delta, stop = events(sim.pieces("/v1/messages", **body))
        estimate = (
            len('userweather, then timeweathernowtime{"type":"object"}')
            + len(json.dumps(SCHEMA, separators=(",", ":")))
        ) // 4
        assert begun == "message_start"
        assert start == (
            '{"type":"message_start","message":{"id":"msg_x","type":"message","role":"assistant",'
            f'"model":"m","content":[],"usage":{{"input_tokens":{estimate},"output_tokens":0}}}}}}'
        )
        assert blocks == [*self.block(0, "weather", TEXT), *self.block(1, "time", '"{}"')]
        assert delta[1].startswith(
            '{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"input_tokens":'
        )
        assert stop == ("message_stop", '{"type":"message_stop"}')

    def test_a_whole_answer_has_all_calls(self, sim):
        (whole,) = sim.pieces("/v1/messages", messages=ASKED, tools=BLOCKS, max_tokens=99)
        assert (
            '"content":[{"type":"tool_use","id":"call_x","name":"weather","input":'
            f'{GIVEN}}},{{"type":"tool_use","id":"call_x","name":"time","input":{{}}}}],'
            '"stop_reason":"tool_use","usage":'
        ) in whole

    def test_a_limit_in_a_call_leaves_a_message_without_blocks(self, sim):
        """Its only record has the true count of what went in, and Go writes an empty list null."""
        body = {"messages": ONE, "tools": BLOCKS, "max_tokens": 5}
        (whole,) = sim.pieces("/v1/messages", **body)
        assert '"content":null,"stop_reason":"max_tokens"' in whole
        start, *rest = events(sim.pieces("/v1/messages", **body, stream=True))
        assert [kind for kind, _ in rest] == ["message_delta", "message_stop"]
        counted = json.loads(whole)["usage"]["input_tokens"]
        assert json.loads(start[1])["message"]["usage"]["input_tokens"] == counted

    def test_a_tools_answer_goes_on_with_the_conversation(self, sim):
        """It stands in a message of the user, which does not make it the user's words."""
        use = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "x"}}
        result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "the weather is fine"}
        text = {"type": "text", "text": "the weather"}
        history = [
            *ONE,
            {"role": "assistant", "content": [use]},
            {"role": "user", "content": [result, text]},
        ]
        (whole,) = sim.pieces("/v1/messages", messages=history, tools=BLOCKS, max_tokens=3)
        assert [block["type"] for block in json.loads(whole)["content"]] == ["text"]

    @pytest.mark.parametrize("key", ["id", "name"])
    def test_a_call_without_id_or_name_is_refused(self, sim, key):
        use = {"type": "tool_use", "id": "a", "name": "b", "input": {}}
        del use[key]
        history = [{"role": "assistant", "content": [use]}]
        refusal = sim.refusal("/v1/messages", messages=history, max_tokens=3)
        assert refusal == f"tool_use block missing required '{key}' field"

    def test_a_tool_whose_schema_is_none_is_refused(self, sim):
        tools = [{"name": "f", "input_schema": 1}]
        assert sim.refusal("/v1/messages", messages=ONE, max_tokens=3, tools=tools) == (
            'invalid input_schema for tool "f": json: cannot unmarshal number into Go value of '
            "type api.ToolFunctionParameters"
        )

    def test_the_servers_own_search_is_never_called(self, sim):
        """What it finds would have to come from the cloud."""
        asked = [{"role": "user", "content": "use web_search"}]
        tools = [{"type": "web_search_20250305", "name": "web_search"}]
        (whole,) = sim.pieces("/v1/messages", messages=asked, max_tokens=3, tools=tools)
        assert '"stop_reason":"max_tokens"' in whole


class TestResponses:
    ITEM = (
        '{"arguments":%s,"call_id":"call_x","id":"fc_x","name":"weather","status":"%s",'
        '"type":"function_call"}'
    )
    TOOL = (
        '[{"description":null,"name":"weather","parameters":{"properties":{"city":{"type":"string"}'
        ',"days":{"type":"integer"}},"required":["city","days"],"type":"object"},"strict":null,'
        '"type":"function"}]'
    )

    def test_a_stream_has_four_events_for_a_call_and_repeats_it_at_the_end(self, sim):
        """The keys are sorted, as Go writes a map's."""
        told = events(sim.pieces("/v1/responses", input="the weather", tools=FLAT, stream=True))
        _, _, added, delta, given, done, completed = (data for _, data in told)
        whole = self.ITEM % (TEXT, "completed")
        assert [kind for kind, _ in told] == [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "response.output_item.done",
            "response.completed",
        ]
        assert added == (
            f'{{"item":{self.ITEM % (json.dumps(""), "in_progress")},"output_index":0,'
            '"sequence_number":2,"type":"response.output_item.added"}'
        )
        assert delta == (
            f'{{"delta":{TEXT},"item_id":"fc_x","output_index":0,"sequence_number":3,'
            '"type":"response.function_call_arguments.delta"}'
        )
        assert given == (
            f'{{"arguments":{TEXT},"item_id":"fc_x","output_index":0,"sequence_number":4,'
            '"type":"response.function_call_arguments.done"}'
        )
        assert done == (
            f'{{"item":{whole},"output_index":0,"sequence_number":5,'
            '"type":"response.output_item.done"}'
        )
        assert f'"output":[{whole}],' in completed
        assert f'"tools":{self.TOOL},' in completed

    def test_all_calls_of_a_stream_have_one_index(self, sim):
        """Ollama counts on only behind reasoning: a client that goes by the index is misled."""
        flat = [*FLAT, {"type": "function", "name": "time"}]
        told = events(sim.pieces("/v1/responses", input=ASKED, tools=flat, stream=True))
        items = [json.loads(data) for kind, data in told if kind == "response.output_item.done"]
        assert [item["item"]["name"] for item in items] == ["weather", "time"]
        assert [item["output_index"] for item in items] == [0, 0]

    def test_a_whole_answer_has_items_in_the_order_of_gos_fields(self, sim):
        (whole,) = sim.pieces("/v1/responses", input="the weather", tools=FLAT)
        assert (
            '"output":[{"id":"fc_x","type":"function_call","status":"completed","call_id":"call_x",'
            f'"name":"weather","arguments":{TEXT}}}],"error":null,"tools":[{{"type":"function",'
            '"name":"weather","description":null,"strict":null,"parameters":{"properties":' in whole
        )

    def test_a_limit_in_a_call_leaves_a_response_without_output(self, sim):
        body = {"input": "the weather", "tools": FLAT, "max_output_tokens": 5}
        told = events(sim.pieces("/v1/responses", **body, stream=True))
        assert len(told) == 3
        assert json.loads(told[-1][1])["response"]["output"] is None
        (whole,) = sim.pieces("/v1/responses", **body)
        assert json.loads(whole)["output"][0]["content"][0]["text"] == ""

    def test_a_tools_answer_goes_on_with_the_conversation(self, sim):
        call = {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": GIVEN}
        result = {
            "type": "function_call_output",
            "call_id": "call_1",
            "output": "the weather is fine",
        }
        body = {"input": [*ONE, call, result], "tools": FLAT, "max_output_tokens": 3}
        (whole,) = sim.pieces("/v1/responses", **body)
        assert [item["type"] for item in json.loads(whole)["output"]] == ["message"]

    @pytest.mark.parametrize(
        ("given", "why"),
        [
            ("[", "unexpected end of JSON input"),
            ("[]", "Value looks like object, but can't find closing '}' symbol"),
            ("{'", "invalid character '\\'' looking for beginning of object key string"),
        ],
    )
    def test_earlier_arguments_that_are_no_object_are_refused(self, sim, given, why):
        call = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": given}
        refusal = sim.refusal("/v1/responses", input=[*ONE, call])
        assert refusal == f"failed to parse function call arguments: {why}"

    def test_a_tool_whose_schema_is_none_is_refused(self, sim):
        tools = [{"type": "function", "name": "f", "parameters": {"required": 1}}]
        assert sim.refusal("/v1/responses", input="x", tools=tools) == (
            "failed to unmarshal tool parameters: json: cannot unmarshal number into Go struct "
            "field ToolFunctionParameters.required of type []string"
        )


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/chat", {"messages": ONE, "tools": FUNCTIONS}),
        ("/v1/chat/completions", {"messages": ONE, "tools": FUNCTIONS}),
        ("/v1/messages", {"messages": ONE, "tools": BLOCKS, "max_tokens": 9}),
        ("/v1/responses", {"input": "the weather", "tools": FLAT}),
    ],
)
def test_a_model_that_cannot_call_tools_refuses_them_in_every_dialect(sim, path, body):
    status_line, (refusal,) = sim.ask(path, {"model": "plain", **body})
    assert status_line == b"HTTP/1.1 400 Bad Request"
    assert "registry.ollama.ai/library/plain:latest does not support tools" in refusal
