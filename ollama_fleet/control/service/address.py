"""Where an Ollama listens by its OLLAMA_HOST, and which version answers at an address."""

import http.client
import json
import re
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 11434
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_MAX_PORT: Final = 65535
_HOST_PORT: Final = re.compile(r"(?:\[(?P<six>[^\[\]]*)\]|(?P<name>[^:\[\]]*)):(?P<port>[^:\[\]]*)")
_MAX_ANSWER_BYTES: Final = 4096


def listen_address(text: str) -> tuple[str, int]:
    """Host and port in a value of OLLAMA_HOST as Ollama reads it (envconfig/config.go, Host).

    Its defaults where there is none; a port that is none is the default, too. An empty host is
    every address.
    """
    value = text.strip().strip("\"'").strip()
    scheme, mark, rest = value.partition("://")
    default = _DEFAULT_PORTS.get(scheme, DEFAULT_PORT) if mark else DEFAULT_PORT
    hostport = (rest if mark else value).partition("/")[0]
    match = _HOST_PORT.fullmatch(hostport)
    if match is None:  # no port, or an IPv6 address without brackets
        return hostport.strip("[]") or DEFAULT_HOST, default
    port = match["port"]
    known = port.isascii() and port.isdecimal() and int(port) <= _MAX_PORT
    return match["six"] or match["name"] or "", int(port) if known else default


def ask_version(base_url: str, timeout_s: float) -> str:
    """The version a server gives; empty if it gives none in time.

    The one question to Ollama outside `ollama_fleet.ollama`: it is put before there is a loop.
    """
    with suppress(OSError, ValueError, http.client.HTTPException):
        url = urlsplit(base_url)
        secure = url.scheme == "https"
        connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = connect(url.netloc, timeout=timeout_s)
        try:
            connection.request("GET", "/api/version")
            answer = json.loads(connection.getresponse().read(_MAX_ANSWER_BYTES))
        finally:
            connection.close()
        if isinstance(answer, dict) and isinstance(answer.get("version"), str):
            return str(answer["version"])
    return ""
