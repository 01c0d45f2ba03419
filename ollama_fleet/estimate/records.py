"""The records that go in and come out: what was observed, what is asked, how fast something is."""

from typing import NamedTuple

import msgspec


class Observation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One attempt that ran to its end, as the instance reports it and as the router's clock saw it.

    A figure that nobody told is 0. `busy` is how many slots of the whole instance were at work
    while it decoded, itself included: the mean over its tokens, or over the time. `load_s` is what
    passed between sending and the moment at which its model was ready for it. `cached_tokens` is
    what the instance's cache was expected to spare; None if nothing is known of that. `whole` says
    that the answer came to its own end, so that its length teaches something.
    """

    instance: str
    weights: str
    key: str
    route: str = ""
    prompt_bytes: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    load_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    busy: float = 1.0
    cached_tokens: float | None = None
    sent_to_first_s: float = 0.0
    first_to_last_s: float = 0.0
    records: int = 0
    whole: bool = True


class Ask(msgspec.Struct, frozen=True, gc=False):
    """A request, as far as the length of its answer goes. `cap_tokens` 0: it sets no limit."""

    key: str
    route: str = ""
    prompt_tokens: float = 0.0
    cap_tokens: int = 0


class Coefficients(NamedTuple):
    """A straight line: `base + slope * x`, neither ever negative."""

    base: float
    slope: float

    def at(self, x: float) -> float:
        """Its value."""
        return self.base + self.slope * x


class Speed(msgspec.Struct, frozen=True, gc=False):
    """How fast some weights run on an instance: seconds, as learned and as seen a moment ago.

    A prompt takes `prompt_base_s + prompt_token_s * tokens`; one stream's next token takes
    `token_base_s + token_busy_s * busy`, where `busy` counts the slots at work on the instance,
    that stream's included. None is negative, so that more is never faster, and the tokens of all
    streams together never come slower for one stream more.
    """

    prompt_base_s: float
    prompt_token_s: float
    token_base_s: float
    token_busy_s: float

    def prefill_s(self, tokens: float, cached_tokens: float = 0.0) -> float:
        """Seconds to evaluate a prompt of which the cache holds a part; one token at the least."""
        return self.prompt_base_s + self.prompt_token_s * max(tokens - cached_tokens, 1.0)

    def token_s(self, busy: float) -> float:
        """Seconds for the next token of one stream."""
        return self.token_base_s + self.token_busy_s * max(busy, 1.0)
