"""A call as HTTP, and what a complete answer to it looks like: nothing is taken on trust. Pure."""

from typing import Any, Protocol, TypeVar

import msgspec

from ollama_fleet.bench.workload import Api, Call

T = TypeVar("T")

_OPENAI = (Api.OPENAI_CHAT, Api.OPENAI_COMPLETION)
_SHOWN = 120  # characters of an answer that are quoted in a reason


class BadAnswer(Exception):
    """An answer that is not what a client may expect; says why."""


class Check(Protocol):
    """Follows a streamed answer, line by line. Every method raises BadAnswer."""

    def line(self, line: bytes) -> None:
        """Take the next line, without its end."""
        ...

    def end(self) -> int:
        """The answer is over: the tokens it reported."""
        ...


def body_of(call: Call) -> dict[str, Any]:
    """The JSON body of the request."""
    body: dict[str, Any] = {"model": call.model}
    if call.api in (Api.CHAT, Api.OPENAI_CHAT):
        body["messages"] = [{"role": "user", "content": call.prompt}]
    else:
        body["input" if call.api is Api.EMBED else "prompt"] = call.prompt
    if call.api is not Api.EMBED:
        body["stream"] = call.stream
        if call.api in _OPENAI:
            body["max_tokens"] = call.output_tokens
        else:
            body["options"] = {"num_predict": call.output_tokens}
    if call.api in _OPENAI and call.stream:
        body["stream_options"] = {"include_usage": True}
    return body


def check_for(call: Call, *, exact: bool) -> Check:
    """What to follow a streamed answer with.

    `exact` demands a record per reported token; a real server may hold a token back until it
    forms a character, or count the one that ends an answer.
    """
    return _EventCheck(exact=exact) if call.api in _OPENAI else _RecordCheck(exact=exact)


def check_whole(call: Call, body: bytes) -> int:
    """The tokens that an answer in one piece reports. Raises BadAnswer."""
    if call.api is Api.EMBED:
        vectors = _decode(body, _Embedding).embeddings
        if len(vectors) != 1 or not vectors[0]:
            raise BadAnswer(f"one embedding was asked for, {len(vectors)} came")
        return 0
    if call.api in _OPENAI:
        whole = _decode(body, _Completion)
        if not whole.choices or whole.choices[0].finish_reason is None or whole.usage is None:
            raise BadAnswer("the answer has no finish_reason or no usage")
        return whole.usage.completion_tokens
    record = _decode(body, _Record)
    if not record.done:
        raise BadAnswer("the answer is not done")
    return record.eval_count


def reason_of(body: bytes) -> str:
    """The reason in an error's body, as any of the APIs writes it."""
    try:
        error = msgspec.json.decode(body)["error"]
        return _shown(error["message"] if isinstance(error, dict) else error)
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        return _shown(body.decode(errors="replace"))


# -- Ollama's records --------------------------------------------------------------------------


class _Record(msgspec.Struct):
    done: bool = False
    error: str = ""
    eval_count: int = 0


class _RecordCheck:
    """Every line is a record, the last one and no other is done."""

    def __init__(self, *, exact: bool) -> None:
        self._exact = exact
        self._seen = 0
        self._done: _Record | None = None

    def line(self, line: bytes) -> None:
        if self._done is not None:
            raise BadAnswer("a record came after the last one")
        record = _decode(line, _Record)
        if record.error:
            raise BadAnswer(f"error in mid-stream: {_shown(record.error)}")
        if record.done:
            self._done = record
        else:
            self._seen += 1

    def end(self) -> int:
        if self._done is None:
            raise BadAnswer("the stream ended without its last record")
        _same(self._done.eval_count, self._seen, exact=self._exact)
        return self._done.eval_count


# -- OpenAI's events ---------------------------------------------------------------------------


class _Usage(msgspec.Struct):
    completion_tokens: int = 0


class _Choice(msgspec.Struct):
    finish_reason: str | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Any = None


class _EventCheck:
    """Every line is an event's data or empty; usage and an end come before the last, `[DONE]`."""

    def __init__(self, *, exact: bool) -> None:
        self._exact = exact
        self._seen = 0
        self._finished = False
        self._done = False
        self._usage: _Usage | None = None

    def line(self, line: bytes) -> None:
        if not line:
            return
        if self._done:
            raise BadAnswer("an event came after [DONE]")
        if not line.startswith(b"data: "):
            raise BadAnswer(f"not an event: {_shown(line.decode(errors='replace'))}")
        data = line.removeprefix(b"data: ")
        if data == b"[DONE]":
            self._done = True
        else:
            self._event(_decode(data, _Completion))

    def _event(self, event: _Completion) -> None:
        if event.error:
            raise BadAnswer(f"error in mid-stream: {_shown(event.error)}")
        if not event.choices:
            self._usage = event.usage
        elif event.choices[0].finish_reason is None:
            self._seen += 1
        else:
            self._finished = True

    def end(self) -> int:
        if not self._done:
            raise BadAnswer("the stream ended without [DONE]")
        if not self._finished or self._usage is None:
            raise BadAnswer("the stream has no finish_reason or no usage")
        _same(self._usage.completion_tokens, self._seen, exact=self._exact)
        return self._usage.completion_tokens


class _Embedding(msgspec.Struct):
    embeddings: list[list[float]]


def _same(reported: int, seen: int, *, exact: bool) -> None:
    if exact and reported != seen:
        raise BadAnswer(f"{reported} tokens are reported, {seen} records came")
    if not exact and seen and not reported:
        raise BadAnswer(f"no token is reported, {seen} records came")


def _decode(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadAnswer(f"not the JSON that was expected: {error}") from None


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
