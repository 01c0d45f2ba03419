"""What can go wrong, by name: errors for the operator, failures of an attempt for the router."""

import errno
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher, get_close_matches
from enum import IntEnum, StrEnum
from typing import ClassVar, Final

_NEAR: Final = 2  # names that are offered for one that is not there


class Exit(IntEnum):
    """Exit codes of `fleet`, sysexits where they fit."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_RUNNING = 69
    HELD = 75
    NOT_ALLOWED = 77
    CONFIG = 78
    TIMEOUT = 124
    INTERRUPTED = 130


class Limit(StrEnum):
    """What clients run into, by the key of fleet.yaml that sets it."""

    CONNECTIONS = "limits.connections"
    CONNECTIONS_PER_ADDRESS = "limits.connections_per_address"
    REQUESTS_PER_CLIENT = "limits.requests_per_client"
    HEADER = "limits.header"
    HEADER_TIMEOUT = "limits.header_timeout"
    BODY = "limits.body"
    BODY_TIMEOUT = "limits.body_timeout"
    SPOOLED = "limits.spooled"
    DISK_RESERVE = "limits.disk_reserve"
    WRITE_TIMEOUT = "limits.write_timeout"
    QUEUE = "queue.limit"
    QUEUE_PER_TENANT = "queue.per_tenant"
    QUEUE_TIMEOUT = "queue.timeout"


class FleetError(Exception):
    """An error an operator can act on: `reason` names the cause, `hint` the way out."""

    exit_code = Exit.FAILED

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint

    @property
    def told(self) -> str:
        """As the command line tells it: the cause, and the way out."""
        return f"{self.reason}; {self.hint}" if self.hint else self.reason

    def __str__(self) -> str:
        return f"{self.reason} ({self.hint})" if self.hint else self.reason


def nothing_called(
    what: str, names: Sequence[str], known: Iterable[str], there_are: str = ""
) -> FleetError:
    """The error about names of which there is no `what`: with those that are near, else with all.

    `there_are` says that in other words.
    """
    shown = {name.lower(): name for name in known}
    near = [shown[at] for at in shown if any(at in _nearest(n.lower(), shown) for n in names)]
    hint = there_are or f"there are {', '.join(shown.values()) or 'none'}"
    if 0 < len(near) <= _NEAR:  # of gpu0 to gpu7 none is nearer to gpu9 than the others
        hint = f"did you mean {' or '.join(near)}?"
    return FleetError(f"no {what} is called {', '.join(names)}", hint)


def _nearest(name: str, known: Iterable[str]) -> Sequence[str]:
    """Of names that are near enough to be meant the nearest, one more than are offered at most."""
    found = get_close_matches(name, known, n=_NEAR + 1)
    alike = [SequenceMatcher(None, each, name).ratio() for each in found]
    return [each for each, ratio in zip(found, alike, strict=True) if ratio == alike[0]]


class ConfigError(FleetError):
    """fleet.yaml cannot be used; `problems` holds one line per mistake."""

    exit_code = Exit.CONFIG

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class NotLive(FleetError):
    """fleet.yaml says something else of `keys`, which a running fleet cannot change; and why."""

    exit_code = Exit.CONFIG

    def __init__(self, keys: Mapping[str, str]) -> None:
        told = "; ".join(f"{key} ({why})" for key, why in keys.items())
        super().__init__(
            f"cannot change while the fleet runs: {told}",
            "nothing was changed; `fleet down && fleet up` takes the whole file",
        )
        self.keys = tuple(keys)


class PlacementError(FleetError):
    """The wanted groups and the GPUs at hand do not go together."""

    exit_code = Exit.CONFIG


class PortTaken(FleetError):
    """Another program listens where we want to."""

    exit_code = Exit.CONFIG


class CannotListen(FleetError):
    """The address is not ours to listen on."""

    exit_code = Exit.CONFIG


class CertificateError(FleetError):
    """The certificate or its key cannot be used."""

    exit_code = Exit.CONFIG


class FleetHeld(FleetError):
    """Another fleet runs on this state directory."""

    exit_code = Exit.HELD


class NotRunning(FleetError):
    """No fleet answers on the control socket."""

    exit_code = Exit.NOT_RUNNING


class StartFailed(FleetError):
    """An instance that will not come up however often it is tried: binary missing, port taken."""


class OllamaError(FleetError):
    """An Ollama server answered a call of ours with an error, or not at all.

    `status` is its HTTP status; 0 where no answer came.
    """

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.status = status


class CallNotMade(OllamaError):
    """A server was not even called: this machine has no socket to spare. It says nothing of it."""


class StoreError(FleetError):
    """A model store could not be changed, or does not hold what it should."""


class NotEnoughSpace(StoreError):
    """A disk has not the room that a model needs there."""


class BlobDamaged(StoreError):
    """A blob is not what its name says; nothing was made of it."""


class Failure(Exception):
    """An attempt at an instance that did not complete.

    `status` is what a client is told where nothing of an answer has been sent; `retry_after_s`,
    where that is known, when it should try again; `limit` is what its client has run into, if that
    is why.
    """

    status: ClassVar[int] = 502
    limit: ClassVar[Limit | None] = None
    retry_after_s: float = 0.0


class ConnectFailed(Failure):
    """No connection, or it was lost before anything came back: nothing was answered.

    `sent` is False where there was none: the instance knows nothing of the request.
    """

    def __init__(self, reason: str = "", *, sent: bool = True) -> None:
        super().__init__(reason)
        self.sent = sent


OUT_OF_SOCKETS: Final = frozenset(
    (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL)
)
"""What this machine lacks, whoever is at the other end: files, ports or memory."""


class OutOfSockets(Failure):
    """This machine has none to spare: files, ports or memory ran out. No instance is to blame."""

    status = 503


class Overloaded(Failure):
    """The instance answered 503: its own queue is full."""


class ModelMissing(Failure):
    """The instance answered 404 for a model it was believed to have."""


class UpstreamFailed(Failure):
    """The instance answered 5xx before the first byte of an answer."""


class FirstByteTimeout(Failure):
    """Nothing came back within the deadline."""

    status = 504


class InstanceHung(Failure):
    """Nothing came back, or no more, and the instance was found to hang: it was broken off."""


class StreamBroken(Failure):
    """The answer ended in the middle: never tried again."""


class ClientGone(Failure):
    """The client left; no instance is to blame."""
