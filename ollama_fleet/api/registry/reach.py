"""What another machine may call this one."""

import asyncio
import socket
from urllib.parse import urlsplit

from ollama_fleet.errors import FleetError


async def own_address(url: str) -> str:
    """The IPv4 address from which this machine reaches a server: where that reaches us in turn.

    Nothing is sent. Raises FleetError where there is no such address: a model's name cannot have
    one of IPv6 in it.
    """
    host = urlsplit(url).hostname or ""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, 9, family=socket.AF_INET, type=socket.SOCK_DGRAM
        )
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(found[0][4])  # of a datagram socket: a look-up of the route, no packet
            return str(probe.getsockname()[0])
    except OSError as error:
        raise FleetError(
            f"no way from {host} to this machine: {error.strerror or error}",
            "an instance elsewhere gets its models from here over IPv4",
        ) from None
