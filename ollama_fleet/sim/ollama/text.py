"""Text and tokens: a tokeniser, what an answer says and how long it is. Pure, no dictionary.

A token is up to four characters that are not blank together with one blank before them, or one
blank that has none after it: about four characters of English. Answers are made of such tokens,
so a client that sends an answer back as history sends the same tokens: prefix caches hit.
"""

import hashlib
import math
import random
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Tokens = Sequence[str]

_TOKEN = re.compile(r"\s?\S{1,4}|\s")
_TOLD = re.compile(r"\(([1-9]\d{0,5}) tokens\)\s*(?:\[assistant\] )?\Z")
_MASK = (1 << 64) - 1
_WORDS = """
the of and to in is that it was for on are as with they be at this have from or one had by word but
not what all were we when your can said use an each she do how if will up out many then them so some
her make like him into time has look two more see go no way my than been call who oil its now find
long down day did get come may part load node
"""
_PIECES = tuple(f" {word}" for word in _WORDS.split())


def tokenise(text: str) -> list[str]:
    """The tokens of a text, in order; an empty text has none."""
    return _TOKEN.findall(text)


def token_id(token: str) -> int:
    """A number for a token, as Ollama's `context` array has them; not unique."""
    return zlib.crc32(token.encode()) % 128_000


def told_tokens(prompt: str) -> int:
    """How long an answer its prompt asks for: one that ends with `(N tokens)`; else 0.

    An experiment can fix the length of an answer by it and keep it from who only reads options.
    """
    told = _TOLD.search(prompt)
    return int(told[1]) if told else 0


def common_prefix(a: Tokens, b: Tokens) -> int:
    """How many tokens two sequences have in common at their start."""
    low, high = 0, min(len(a), len(b))
    if a[:1] != b[:1]:  # as with most prompts: no need to search for where they part
        return 0
    if a[:high] == b[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle
    return low


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool, number `index` of its answer, counted from 0."""

    id: str
    index: int
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model will say: the same for the same model, prompt and seeds, whoever is asked.

    Where it calls tools, `calls` has each call by the token that completes it, and a client sees
    these instead of the text: Ollama's parser swallows that to its end. An `unended` one is stopped
    as Ollama stops a model that repeats itself: nothing says so, and nothing is counted.
    """

    seed: int
    tokens: int
    ends_by_itself: bool
    fixed: tuple[str, ...] = ()  # said instead of words
    calls: Mapping[int, Call] | None = None
    unended: bool = False

    def piece(self, index: int) -> str:
        """The text of token `index`, counted from 0."""
        if self.fixed:
            return self.fixed[index]
        mixed = (self.seed + index * 0x9E3779B97F4A7C15) & _MASK
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        return _PIECES[(mixed >> 33) % len(_PIECES)]

    def text(self) -> str:
        """What a client reads of it, as one text."""
        return "" if self.calls is not None else "".join(map(self.piece, range(self.tokens)))


EMPTY_OBJECT = Answer(seed=0, tokens=2, ends_by_itself=True, fixed=("{", "}"))


def answer(
    seed: str, prompt: str, *, limit: int, median_tokens: float, sigma: float, max_tokens: int
) -> Answer:
    """Decide an answer: as long as its prompt says, else as `limit` does, else a log-normal draw.

    A limit that is positive also bounds what the prompt says.
    """
    digest = hashlib.blake2b(prompt.encode(errors="replace"), key=seed.encode()[:64]).digest()
    words = int.from_bytes(digest[:8], "big")
    told = told_tokens(prompt)
    if told and (told <= limit or limit <= 0):
        return Answer(seed=words, tokens=min(told, max_tokens), ends_by_itself=True)
    if limit > 0:
        return Answer(seed=words, tokens=limit, ends_by_itself=False)
    draw = random.Random(digest[8:16])  # noqa: S311  # a model of lengths, not a secret
    length = round(draw.lognormvariate(math.log(median_tokens), sigma))
    return Answer(seed=words, tokens=min(max(length, 1), max_tokens), ends_by_itself=True)
