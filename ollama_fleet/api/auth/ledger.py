"""What callers have used: requests, tokens, and how many of theirs are on their way. Pure.

By caller's name, so that an account outlasts a change of its key. A request is counted when it
comes, its tokens when it has ended: nobody knows them before. Times are monotonic seconds.
"""

import math
from collections.abc import Collection, Mapping
from typing import Final

from ollama_fleet.api.auth.caller import Caller
from ollama_fleet.api.auth.denied import Denied, Why
from ollama_fleet.api.auth.rates import Bucket, Rate

TOO_MANY: Final = 429


class _Account:
    """What one caller has left."""

    __slots__ = ("in_flight", "requests", "tokens")

    def __init__(self) -> None:
        self.in_flight = 0
        self.requests: Bucket | None = None
        self.tokens: Bucket | None = None

    def follow(self, caller: Caller, now_s: float) -> None:
        """Have the buckets that the key says now."""
        self.requests = _bucket(self.requests, caller.requests, now_s)
        self.tokens = _bucket(self.tokens, caller.tokens, now_s)


def _bucket(held: Bucket | None, rate: Rate | None, now_s: float) -> Bucket | None:
    if rate is None or (held is not None and held.rate == rate):
        return held if rate is not None else None
    return Bucket(rate, now_s)


class Ledger:
    """Accounts of callers whose requests are metered."""

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}

    def begin(self, caller: Caller, now_s: float) -> Mapping[str, str]:
        """Count a request that has come, until `end`; headers tell its client what is left.

        Raises Denied where it is one too many; then it does not count.
        """
        account = self._accounts.setdefault(caller.name, _Account())
        account.follow(caller, now_s)
        if account.in_flight >= caller.concurrent:
            text = f"{caller.concurrent:g} requests with this key are on their way already"
            raise Denied(Why.CONCURRENT, TOO_MANY, text, {"Retry-After": "1"})
        told = _told(account, now_s)
        if account.tokens is not None and account.tokens.left(now_s) < 1:
            raise _exhausted(Why.TOKENS, account.tokens, told, now_s)
        if account.requests is not None:
            if account.requests.left(now_s) < 1:
                raise _exhausted(Why.REQUESTS, account.requests, told, now_s)
            account.requests.spend(1, now_s)
        account.in_flight += 1
        return _told(account, now_s)

    def end(self, caller: Caller) -> None:
        """A request that was counted is over."""
        account = self._accounts.get(caller.name)
        if account is not None:
            account.in_flight -= 1

    def spent(self, name: str, tokens: int, now_s: float) -> None:
        """A request of somebody has used tokens; nothing if nobody counts them."""
        account = self._accounts.get(name)
        if account is not None and account.tokens is not None:
            account.tokens.spend(tokens, now_s)

    def keep(self, names: Collection[str]) -> None:
        """Forget those whose keys are gone."""
        for name, account in tuple(self._accounts.items()):
            if name not in names and not account.in_flight:
                del self._accounts[name]


def _exhausted(why: Why, bucket: Bucket, told: Mapping[str, str], now_s: float) -> Denied:
    wait_s = math.ceil(max(bucket.wait_s(1, now_s), 1))
    rate = bucket.rate
    text = f"this key may use {rate.amount} {why} in {rate.window_s:g} s; try again in {wait_s} s"
    return Denied(why, TOO_MANY, text, {**told, "Retry-After": str(wait_s)})


def _told(account: _Account, now_s: float) -> dict[str, str]:
    """What is left, as OpenAI's clients read it."""
    found = {}
    for name, bucket in (("requests", account.requests), ("tokens", account.tokens)):
        if bucket is not None:
            whole_s = math.ceil(bucket.wait_s(bucket.rate.amount, now_s))
            found[f"X-RateLimit-Limit-{name.title()}"] = str(bucket.rate.amount)
            found[f"X-RateLimit-Remaining-{name.title()}"] = str(max(0, int(bucket.left(now_s))))
            found[f"X-RateLimit-Reset-{name.title()}"] = f"{whole_s}s"
    return found
