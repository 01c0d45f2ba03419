"""The gate behind the door: who asks, whether that may be, and what it counts for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from ollama_fleet.api.auth.bounds import FREE, Bounds
from ollama_fleet.api.auth.caller import ANYONE, Caller, Role
from ollama_fleet.api.auth.denied import CHALLENGE, Denied, Why
from ollama_fleet.api.auth.ledger import Ledger
from ollama_fleet.api.auth.ring import NO_KEYS, KeyRing
from ollama_fleet.api.auth.roles import INFERENCE, OPEN, least_role, switch

_UNAUTHORISED: Final = 401
_FORBIDDEN: Final = 403


@dataclass(frozen=True, slots=True)
class Terms:
    """What fleet.yaml says of callers.

    `required`: nobody is let in without a key. `by_name`: only this machine can reach the front, so
    that who calls it by another name, and has no key, was led here: no admin. `switched_on` are the
    keys of fleet.yaml that turn routes on; `users` are the bounds of who is no admin.
    """

    required: bool = False
    by_name: bool = False
    switched_on: frozenset[str] = frozenset(("auth.create", "auth.push"))
    users: Bounds = FREE


class Gate:
    """Says of each request who asks. Raises Denied for what is not to be.

    `clock` gives monotonic seconds, `wall` Unix time; `denied` is told of each refusal, and of the
    caller, if there is one, and its address.
    """

    def __init__(
        self,
        terms: Terms = Terms(),
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        denied: Callable[[Why, str], None] = lambda _why, _address: None,
    ) -> None:
        self.ring: KeyRing = NO_KEYS
        self.names: frozenset[str] = frozenset()  # of the callers that have keys
        self.ledger = Ledger()
        self._clock = clock
        self._wall = wall
        self.denied = denied
        self.follow(terms)

    def follow(self, terms: Terms) -> None:
        """Go by these from now on."""
        self._terms = terms
        self._guest = Caller(role=Role.USER, bounds=terms.users)

    def renew(self, ring: KeyRing) -> None:
        """Let these keys in from now on, and no others."""
        self.ring, self.names = ring, ring.names()
        self.ledger.keep(self.names)

    def enter(self, key: str, route: str, *, by_own_name: bool) -> Caller:
        """Who brings a key ("" for none) to a route, if that is for it.

        `by_own_name`: it comes from this machine, by a Host that only this calls itself.
        """
        if route in OPEN:
            return ANYONE
        caller = self._known(key) if key else self._nameless(by_own_name=by_own_name)
        if caller.role is not Role.ADMIN and least_role(route) is Role.ADMIN:
            raise Denied(Why.ROLE, _FORBIDDEN, _ROLE if caller.name else _NAME)
        turned_on_by = switch(route)
        if turned_on_by and turned_on_by not in self._terms.switched_on:
            text = f"this is off; `{turned_on_by}: true` in fleet.yaml turns it on"
            raise Denied(Why.SWITCHED_OFF, _FORBIDDEN, text)
        return caller

    def begin(self, caller: Caller, route: str) -> Mapping[str, str]:
        """Count a request of a metered caller, until `end`; what its client is told is left."""
        if route not in INFERENCE or not caller.is_metered:
            return _NOTHING
        return self.ledger.begin(caller, self._clock())

    def end(self, caller: Caller, route: str) -> None:
        """A request that `begin` has counted is over."""
        if route in INFERENCE and caller.is_metered:
            self.ledger.end(caller)

    def spent(self, name: str, tokens: int) -> None:
        """A request has used tokens: those of its caller, if it has a budget."""
        self.ledger.spent(name, tokens, self._clock())

    def _known(self, key: str) -> Caller:
        caller = self.ring.find(key)
        if caller is None:
            raise Denied(Why.UNKNOWN_KEY, _UNAUTHORISED, "this key is not known", CHALLENGE)
        if caller.expires_s <= self._wall():
            raise Denied(Why.EXPIRED_KEY, _UNAUTHORISED, "this key has expired", CHALLENGE)
        return caller

    def _nameless(self, *, by_own_name: bool) -> Caller:
        if self._terms.required:
            raise Denied(Why.NO_KEY, _UNAUTHORISED, _KEYLESS, CHALLENGE)
        return self._guest if self._terms.by_name and not by_own_name else ANYONE


_NOTHING: Final[Mapping[str, str]] = {}
_KEYLESS: Final = (
    "a key is needed: `Authorization: Bearer fleet_…`, `x-api-key: fleet_…`, or /k/fleet_…/ before "
    "the path; `fleet keys add` makes one"
)
_ROLE: Final = "this is for admins, and the key's role is user"
_NAME: Final = "this is for admins: call this machine localhost, or bring a key whose role is admin"
