"""What routing reads of a JSON body, assigned as Go's encoding/json assigns an object's members."""

import json
from collections.abc import Mapping
from itertools import starmap
from typing import Any, Final

import msgspec

from ollama_fleet.router.intake.opening import OPENING_BYTES, prefix, text_bytes
from ollama_fleet.state import KeepAlive, Profile
from ollama_fleet.units import parse_duration


class Wanted(msgspec.Struct, frozen=True):  # one per request: a seventh of a dataclass's time
    """What a body asks for: its model as written ("" where none can be read), streamed or not.

    `empty`: nothing is to be generated, only a model to be loaded; `unload`: nor to be kept, which
    is how a model is unloaded. `keep_alive`: what it says of its model's stay. `profile` are the
    runner options it names. `source` and `destination` are what a copy or create works on.
    `prompt_bytes` and `prefix` are of its text (opening.py). `num_predict` and `max_tokens` are how
    Ollama's API and the others say how many tokens may come, 0 where they do not.
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


# Go leaves a string as it is where null is assigned to it, and clears what can be nil.
STRINGS: Final = frozenset(("model", "name", "prompt", "from", "source", "destination"))
WORK: Final = ("prompt", "messages", "input")
TEXTS: Final = ("system", "instructions", "tools", *WORK)  # as prompts are put together
_CAPS: Final = ("max_completion_tokens", "max_output_tokens", "max_tokens")
NAMES: Final = STRINGS | {*TEXTS, *_CAPS, "stream", "keep_alive", "options"}

KEPT_BYTES: Final = 64 * 1024

# What makes a runner be started anew where it differs (the runner's part of Ollama's options).
_RUNNER_NUMBERS: Final = frozenset(
    ("draft_num_predict", "main_gpu", "num_batch", "num_ctx", "num_gpu", "num_thread")
)
_RUNNER_FLAGS: Final = frozenset(("use_mmap",))
_INT64: Final = 2**63

_NUMBERS: Final = (int, float)
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    **dict.fromkeys(STRINGS, (str,)),
    **dict.fromkeys(_CAPS, _NUMBERS),
    "stream": (bool,),
    "keep_alive": (*_NUMBERS, str),
    "options": (dict,),
}


def fold(key: str) -> str:
    """A key as Go compares it: to it the long s and the Kelvin sign are letters of ASCII too."""
    return key.replace("\u017f", "s").lower()


class Fields:
    """The wanted members of one object, by folded key; those of a wrong type count as not there.

    Ollama refuses a body in which one has a wrong type, so it does not matter which instance does.
    """

    __slots__ = ("_texts", "_values")

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._texts: dict[str, tuple[bytes, int]] = {}

    def assign(self, name: str, text: bytes, size: int = 0) -> None:
        """Note a member whose key folds to `name`, with its value as written.

        Of a value beyond KEPT_BYTES the beginning is enough: it is too long for anything but text,
        which has `size` bytes then.
        """
        if text == b"null":
            if name not in STRINGS:
                self._values.pop(name, None)
                self._texts.pop(name, None)
        elif name in TEXTS:
            is_empty = text == b'""' or (text[:1] == b"[" and not text[1:-1].strip())
            self._values[name] = not is_empty
            self._texts[name] = text, size or len(text)
        elif len(text) <= KEPT_BYTES:
            value = decode(text)
            if type(value) not in _TYPES[name]:
                return
            if name in _CAPS:
                value = _cap(value)
            elif name == "options" and name in self._values:  # a map that is there is added to
                value = {**self._values[name], **value}
            self._values[name] = value

    def wanted(self, *, stream_default: bool, work: str = "") -> Wanted:
        """What they ask for. `work` is the one key that holds the work, where a route has one."""
        get = self._values.get
        empty = not (get(work) if work else any(map(get, WORK)))
        options = get("options")
        keep_alive = get("keep_alive")
        stay = KeepAlive.UNSAID if keep_alive is None else _stay(keep_alive)
        return Wanted(
            get("model") or get("name") or "",
            get("stream", stream_default),
            empty and stay is KeepAlive.GOES,
            empty,
            profile(options) if options else (),
            get("from") or get("source") or "",
            get("destination") or "",
            sum(starmap(text_bytes, self._texts.values())),
            _cap(options.get("num_predict")) if options else 0,
            get("max_tokens") or get("max_completion_tokens") or get("max_output_tokens") or 0,
            prefix(self._opening()),
            stay,
        )

    def _opening(self) -> bytes:
        """Its text from the beginning, in the order in which prompts are put together."""
        texts = self._texts
        if len(texts) == 1:
            return next(iter(texts.values()))[0]
        return b"".join([texts[name][0][:OPENING_BYTES] for name in TEXTS if name in texts])


def profile(options: Mapping[str, Any]) -> Profile:
    """The options profile: the runner's options by name, sorted; wrong types left out.

    Numbers are whole to Ollama, which cuts a fraction off; a negative num_gpu means none is asked.
    """
    found: list[tuple[str, int | float | bool]] = []
    for name, value in options.items():
        if name in _RUNNER_NUMBERS:
            is_number = type(value) in _NUMBERS and abs(value) < _INT64
            if is_number and (name != "num_gpu" or value > -1):
                found.append((name, int(value)))
        elif name in _RUNNER_FLAGS and isinstance(value, bool):
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
    return int(value) if type(value) in _NUMBERS and 1 <= value < _INT64 else 0


def _stay(keep_alive: float | str) -> KeepAlive:
    """0, "0" and "0s" say that it goes; what Ollama cannot read says nothing, as it is refused."""
    try:
        return KeepAlive.STAYS if parse_duration(keep_alive) else KeepAlive.GOES
    except ValueError:
        return KeepAlive.UNSAID
