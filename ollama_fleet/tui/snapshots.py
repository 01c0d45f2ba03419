"""From the bytes of the control API to a FleetSnapshot."""

import msgspec

from ollama_fleet.errors import FleetError
from ollama_fleet.state.snapshot import FleetSnapshot


def decode(body: bytes) -> FleetSnapshot:
    """Read what GET /v1/status answers; fields that are new to us are passed over.

    Raises FleetError where it is not a snapshot that this version understands.
    """
    try:
        return msgspec.json.decode(body, type=FleetSnapshot)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FleetError(
            f"the fleet's status cannot be read: {error}",
            "if it was started by another version, restart it: `fleet down`, `fleet up`",
        ) from None
