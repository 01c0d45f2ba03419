"""From the bytes of the control API to records."""

from typing import TypeVar

import msgspec

from ollama_fleet.errors import FleetError
from ollama_fleet.state.snapshot import FleetSnapshot

T = TypeVar("T")


def decode(body: bytes) -> FleetSnapshot:
    """Read what GET /v1/status answers; fields that are new to us are passed over.

    Raises FleetError where it is not a snapshot that this version understands.
    """
    return decode_as(FleetSnapshot, body)


def decode_as(kind: type[T], body: bytes) -> T:
    """Read any other document likewise."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FleetError(
            f"the fleet's answer cannot be read: {error}",
            "if it was started by another version, restart it: `fleet down`, `fleet up`",
        ) from None
