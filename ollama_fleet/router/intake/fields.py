"""What routing reads of a JSON body, assigned as Go's encoding/json assigns an object's members."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec

from ollama_fleet.router.intake.opening import OPENING_BYTES, prefix, text_bytes
from ollama_fleet.state import KeepAlive, Profile
from ollama_fleet.units import parse_duration


class Wanted(msgspec.Struct, frozen=True):  # one per request: a seventh of a dataclass's time
    """What a body asks for: its model as written ("" where none can be read), streamed or not.

    `empty`: nothing is to be generated, only a model to be loaded; `unload`: nor to be kept, which
    is how a model is unloaded. `keep_alive`: what it says of its model's stay, in seconds (None: it
    does not; NaN: it cannot be read). `options` are the names of all that are set, "" for some that
    are too long to be read, `profile` those of them that the runner takes. `source` and
    `destination` are what a copy or create works on. `prompt_bytes` and `prefix` are of its text
    (opening.py). `num_predict` and `max_tokens` are how Ollama's API and the others say how many
    tokens may come, 0 where they do not.
    """

    model: str
    stream: bool
    unload: bool = False
    empty: bool = False
    profile: Profile = ()
    source: str = ""
    destination: str = ""
    prompt_bytes: int = 0
    num_predict: int = 0
    max_tokens: int = 0
    prefix: tuple[int, ...] = ()
    keep_alive: KeepAlive = KeepAlive.UNSAID
    keep_alive_s: float | None = None
    options: tuple[str, ...] = ()


# Go leaves a string as it is where null is assigned to it, and clears what can be nil.
STRINGS: Final = frozenset(("model", "name", "prompt", "from", "source", "destination"))
WORK: Final = ("prompt", "messages", "input")
TEXTS: Final = ("system", "instructions", "tools", *WORK)  # as prompts are put together
KEPT_BYTES: Final = 64 * 1024
TYPES: Final[dict[str, Any]] = {
    **dict.fromkeys(STRINGS, Annotated[str, msgspec.Meta(max_length=KEPT_BYTES)]),
    **dict.fromkeys(TEXTS, msgspec.Raw),
    "max_tokens": int | float | None,
    "max_completion_tokens": int | float | None,
    "max_output_tokens": int | float | None,
    "stream": bool | None,
    "keep_alive": int | float | str | None,
    "options": dict[str, Any] | None,
}
NULL: Final = msgspec.Raw(b"null")
_UNREAD: Final[Mapping[str, Any]] = {"": None}

# What makes a runner be started anew where it differs (the runner's part of Ollama's options).
_RUNNER_NUMBERS: Final = frozenset(
    ("draft_num_predict", "main_gpu", "num_batch", "num_ctx", "num_gpu", "num_thread")
)
_RUNNER_OPTIONS: Final = _RUNNER_NUMBERS | {"use_mmap"}
_INT64: Final = 2**63


def fold(key: str) -> str:
    """A key as Go compares it: to it the long s and the Kelvin sign are letters of ASCII too."""
    return key.replace("\u017f", "s").lower()


class Fields:
    """The wanted members of one object, by folded key; those of a wrong type count as not there.

    Ollama refuses a body in which one has a wrong type, so it does not matter which instance does.
    `values` are those that are known already: in their TYPES, texts as they are written.
    """

    __slots__ = ("_sizes", "_values")

    def __init__(self, values: dict[str, Any] | None = None) -> None:
        self._values = {} if values is None else values
        self._sizes: dict[str, int] = {}  # of texts that are kept in part

    def assign(self, name: str, text: bytes, size: int = 0) -> None:
        """Note a member whose key folds to `name`, with its value as written.

        Of a value beyond KEPT_BYTES the beginning is enough: it is too long for anything but text,
        which has `size` bytes then.
        """
        if text == b"null":
            if name not in STRINGS:
                self._values.pop(name, None)
        elif name in TEXTS:
            self._values[name] = text
            self._sizes[name] = size or len(text)
        elif len(text) > KEPT_BYTES:
            if name == "options":
                self._values[name] = _UNREAD
        else:
            try:
                value = msgspec.convert(decode(text), TYPES[name])
            except msgspec.ValidationError:
                return
            if name == "options" and value is not None:  # a map that is there already is added to
                value = {**(self._values.get(name) or {}), **value}
            self._values[name] = value

    def wanted(self, *, stream_default: bool, work: str = "") -> Wanted:
        """What they ask for. `work` is the one key that holds the work, where a route has one."""
        get = self._values.get
        stream, options, keep_alive = get("stream"), get("options"), get("keep_alive")
        stay_s = None if keep_alive is None else _seconds(keep_alive)
        stay = KeepAlive.UNSAID if stay_s is None else _stay(stay_s)
        empty, prompt_bytes, opening = self._text((work,) if work else WORK)
        return Wanted(
            get("model") or get("name") or "",
            stream_default if stream is None else stream,
            empty and stay is KeepAlive.GOES,
            empty,
            profile(options) if options else (),
            get("from") or get("source") or "",
            get("destination") or "",
            prompt_bytes,
            _cap(options.get("num_predict")) if options else 0,
            _cap(get("max_tokens") or get("max_completion_tokens") or get("max_output_tokens")),
            prefix(opening),
            stay,
            stay_s,
            tuple(options) if options else (),
        )

    def _text(self, work: Sequence[str]) -> tuple[bool, int, bytes]:
        """Whether there is no `work`, the bytes of text, and its opening as prompts begin."""
        empty, size, parts = True, 0, []
        for name in TEXTS:
            value = self._values.get(name)
            if value is not None and value != NULL:
                text = bytes(value)
                size += text_bytes(text, self._sizes.get(name, len(text)))
                parts.append(text[:OPENING_BYTES])
                if name in work and text != b'""':
                    empty = empty and text[:1] == b"[" and not text[1:-1].strip()
        return empty, size, b"".join(parts)


def profile(options: Mapping[str, Any]) -> Profile:
    """The options profile: the runner's options by name, sorted; wrong types left out.

    Numbers are whole to Ollama, which cuts a fraction off; a negative num_gpu means none is asked.
    """
    if _RUNNER_OPTIONS.isdisjoint(options):  # as mostly
        return ()
    found: list[tuple[str, int | float | bool]] = []
    for name in _RUNNER_OPTIONS.intersection(options):
        value = options[name]
        if name in _RUNNER_NUMBERS:
            is_number = type(value) in (int, float) and abs(value) < _INT64
            if is_number and (name != "num_gpu" or value > -1):
                found.append((name, int(value)))
        elif isinstance(value, bool):
            found.append((name, value))
    return tuple(sorted(found))


def decode(text: bytes) -> object:
    """A JSON value as Go reads it: what is no Unicode becomes U+FFFD. None for what is no JSON."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        value = json.loads(text.decode(errors="replace"))
    except (ValueError, RecursionError):
        return None
    if isinstance(value, str):  # a lone half of a surrogate pair
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def _cap(value: Any) -> int:
    """A number of tokens; none that is there counts for less than one."""
    return int(value) if type(value) in (int, float) and 1 <= value < _INT64 else 0


def _seconds(keep_alive: float | str) -> float:
    """NaN for what Ollama cannot read either: such a request is refused."""
    try:
        return parse_duration(keep_alive)
    except ValueError:
        return math.nan


def _stay(seconds: float) -> KeepAlive:
    """0, "0" and "0s" say that it goes."""
    if math.isnan(seconds):
        return KeepAlive.UNSAID
    return KeepAlive.STAYS if seconds else KeepAlive.GOES
