"""Why a request is not served."""

from enum import StrEnum


class Refusal(StrEnum):
    """Why a request is not served."""

    NOBODY = "no instance is left that could serve the request"
    FULL = "as many requests are waiting already as may"
    CROWDED = "as many requests of one sender are waiting already as may"
    LATE = "it could not start within its deadline"
    STOPPING = "the fleet is stopping"
