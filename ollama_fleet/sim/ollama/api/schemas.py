"""The request structs of Ollama's Go source, as far as a client's body can touch them."""

from typing import Any

from ollama_fleet.sim.ollama.api import packed
from ollama_fleet.sim.ollama.api.service import ApiError
from ollama_fleet.sim.ollama.golang.binding import BindingError, Struct, bind
from ollama_fleet.sim.ollama.golang.json import EmptyBodyError, SyntaxProblemError, decode
from ollama_fleet.sim.ollama.wire.exchange import Exchange

PARAMETERS = Struct(
    "api.ToolFunctionParameters",
    {"type": "string", "required": ["string"], "properties": "ordered"},
)
_TOOL = Struct(
    "api.Tool",
    {
        "type": "string",
        "items": "any",
        "function": Struct(
            "api.ToolFunction",
            {
                "name": "string",
                "description": "string",
                "parameters": PARAMETERS,
            },
        ),
    },
)
_CALLED = Struct("api.ToolCallFunction", {"index": "int", "name": "string", "arguments": "ordered"})
_COMMON = {"model": "string", "keep_alive": "any", "options": "map"}
_MESSAGE = Struct(
    "api.Alias",
    {
        "role": "string",
        "content": "string",
        "thinking": "string",
        "images": ["image"],
        "tool_calls": [Struct("api.ToolCall", {"id": "string", "function": _CALLED})],
        "tool_name": "string",
        "tool_call_id": "string",
    },
    in_slice="api.Message",
)

GENERATE = Struct(
    "api.GenerateRequest",
    _COMMON
    | {
        "prompt": "string",
        "suffix": "string",
        "system": "string",
        "template": "string",
        "context": ["int"],
        "stream": "bool",
        "raw": "bool",
        "format": "any",
        "images": ["image"],
        "think": "any",
        "truncate": "bool",
        "shift": "bool",
        "logprobs": "bool",
        "top_logprobs": "int",
    },
)
CHAT = Struct(
    "api.ChatRequest",
    _COMMON
    | {
        "messages": [_MESSAGE],
        "stream": "bool",
        "format": "any",
        "tools": [_TOOL, "api.Tools"],
        "think": "any",
        "truncate": "bool",
        "shift": "bool",
        "logprobs": "bool",
        "top_logprobs": "int",
    },
)
EMBED = Struct(
    "api.EmbedRequest", _COMMON | {"input": "any", "truncate": "bool", "dimensions": "int"}
)
EMBEDDINGS = Struct("api.EmbeddingRequest", _COMMON | {"prompt": "string"})
SHOW = Struct("api.ShowRequest", {"model": "string", "name": "string", "verbose": "bool"})
COPY = Struct("api.CopyRequest", {"source": "string", "destination": "string"})
DELETE = Struct("api.DeleteRequest", {"model": "string", "name": "string"})
PULL = Struct(
    "api.PullRequest",
    {"model": "string", "name": "string", "insecure": "bool", "stream": "bool"},
)
PUSH = Struct(
    "api.PushRequest",
    {"model": "string", "name": "string", "insecure": "bool", "stream": "bool"},
)
CREATE = Struct(
    "api.CreateRequest",
    {
        "model": "string",
        "name": "string",
        "from": "string",
        "files": "map",
        "adapters": "map",
        "stream": "bool",
        "template": "string",
        "system": "string",
        "parameters": "map",
        "quantize": "string",
        "license": "any",
    },
)

_SAMPLING = {
    "stream": "bool",
    "stream_options": Struct("openai.StreamOptions", {"include_usage": "bool"}),
    "max_tokens": "int",
    "seed": "int",
    "stop": "any",
    "temperature": "float",
    "top_p": "float",
    "frequency_penalty": "float",
    "presence_penalty": "float",
}
_V1_CALL = Struct(
    "openai.ToolCall",
    {
        "id": "string",
        "index": "int",
        "type": "string",
        "function": Struct(
            r'struct { Name string "json:\"name\""; Arguments string "json:\"arguments\"" }',
            {"name": "string", "arguments": "string"},
        ),
    },
)
V1_CHAT = Struct(
    "openai.ChatCompletionRequest",
    _SAMPLING
    | {
        "model": "string",
        "messages": [
            Struct(
                "openai.Message",
                {
                    "role": "string",
                    "content": "any",
                    "tool_calls": [_V1_CALL],
                    "name": "string",
                    "tool_call_id": "string",
                },
            )
        ],
        "tools": [_TOOL],
        "response_format": "map",
        "reasoning_effort": "string",
    },
)
V1_COMPLETION = Struct(
    "openai.CompletionRequest",
    _SAMPLING | {"model": "string", "prompt": "string", "suffix": "string", "echo": "bool"},
)
V1_EMBED = Struct(
    "openai.EmbedRequest",
    {"model": "string", "input": "any", "dimensions": "int", "encoding_format": "string"},
)
V1_RESPONSES = Struct(
    "openai.ResponsesRequest",
    {
        "model": "string",
        "input": "any",
        "instructions": "string",
        "max_output_tokens": "int",
        "stream": "bool",
        "temperature": "float",
        "top_p": "float",
        "tools": [
            Struct(
                "openai.ResponsesTool",
                {
                    "type": "string",
                    "name": "string",
                    "description": "string",
                    "strict": "bool",
                    "parameters": "map",
                },
            )
        ],
    },
)
MESSAGES = Struct(
    "anthropic.MessagesRequest",
    {
        "model": "string",
        "max_tokens": "int",
        "messages": [
            Struct(
                'struct { Role string "json:\\"role\\""; '
                'Content json.RawMessage "json:\\"content\\"" }',
                {"role": "string", "content": "any"},
                in_slice="anthropic.MessageParam",
            )
        ],
        "system": "any",
        "stream": "bool",
        "temperature": "float",
        "top_p": "float",
        "top_k": "int",
        "stop_sequences": ["string"],
        "tools": [
            Struct(
                "anthropic.Tool",
                {
                    "type": "string",
                    "name": "string",
                    "description": "string",
                    "input_schema": "any",
                    "max_uses": "int",
                },
            )
        ],
        "thinking": "any",
    },
)


async def read(
    exchange: Exchange, struct: Struct, *, empty: str = "missing request body"
) -> dict[str, Any]:
    """The body's fields. Raises ApiError 400 with Go's text; `empty` is that of an empty body."""
    body = await exchange.read()
    head = exchange.head
    if head.path in packed.ROUTES and head.headers.get("content-encoding") == "zstd":
        body = packed.unpack(body)
    try:
        return bind(decode(body), struct)
    except EmptyBodyError:
        raise ApiError(400, empty, early=True) from None
    except (SyntaxProblemError, BindingError) as error:
        raise ApiError(400, str(error), early=True) from None
