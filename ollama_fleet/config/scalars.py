"""The kinds of value a key can hold: durations, sizes, names, GPUs, addresses.

Values arrive as text from a file, a variable and a flag alike, and as themselves from Python. Each
kind says how it is read, how it is written back without loss, and what an editor may expect.
"""

import ipaddress
import math
import re
from typing import Literal
from urllib.parse import urlsplit

from ollama_fleet.config.address import MAX_PORT, Address
from ollama_fleet.names import ModelName
from ollama_fleet.units import go_duration, parse_duration, parse_size

MAX_DURATION_S = 100 * 365 * 86400.0  # Go's durations end at 292 years
MAX_BYTES = 2**62

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_GPU_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9/._:-]*")
_URL_HOST = re.compile(r"[A-Za-z0-9_.:%-]+")
_URL_PATH = re.compile(r"[A-Za-z0-9_.~/-]*")
_REGISTRY = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,343}(:[0-9]{1,5})?")
_ORIGIN_SCHEMES = (
    "http://",
    "https://",
    "chrome-extension://",
    "safari-extension://",
    "moz-extension://",
    "ms-browser-extension://",
)
_MAX_SHOWN = 60
_SIZES = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def clean_text(text: str) -> str:
    """Return the text if a process can be given it. Raises ValueError."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _refusal(text, "is not valid Unicode") from None
    if "\0" in text:
        raise _refusal(text, "holds a NUL character")
    return text


def filled_text(text: str) -> str:
    """Return the text if it is clean and says something. Raises ValueError."""
    if not text.strip():
        raise _refusal(text, "is empty")
    return clean_text(text)


def show_duration_exactly(seconds: float) -> str | float:
    """Write a duration so that reading it gives the same float (`10m`, `1h30m`, `0.5s`, 1e-30)."""
    if seconds > 0 and seconds.is_integer():
        minutes, second = divmod(int(seconds), 60)
        hours, minute = divmod(minutes, 60)
        parts = ((hours, "h"), (minute, "m"), (second, "s"))
        return "".join(f"{count}{unit}" for count, unit in parts if count)
    text = go_duration(seconds)
    return text if parse_duration(text) == seconds else seconds


def show_size_exactly(count: int) -> str | int:
    """Write a size so that reading it gives the same number of bytes (`256MiB`, 1000)."""
    for unit_bytes, unit in _SIZES:
        if count and count % unit_bytes == 0:
            return f"{count // unit_bytes}{unit}"
    return count


def read_seconds(value: object) -> float:
    """Read a duration in seconds; negative ones are a matter for the key. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _refusal(value, "is not a duration such as 30s, 10m or 1h30m")
    seconds = parse_duration(value)
    if not math.isfinite(seconds) or abs(seconds) > MAX_DURATION_S:
        raise _refusal(value, "is not a duration of less than 100 years")
    return seconds


def read_bytes(value: object) -> int:
    """Read a size in bytes. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _refusal(value, "is not a size such as 24GiB or 800MB")
    try:
        exact = isinstance(value, str) and value.strip().isdecimal()
        count = int(value) if exact else parse_size(value)
    except OverflowError:
        count = MAX_BYTES + 1
    if not 0 <= count <= MAX_BYTES:
        raise _refusal(value, "is not a size from 0 to 4194304TiB")
    return count


def read_address(value: object) -> Address:
    """Read an address to listen on. Raises ValueError."""
    if isinstance(value, Address):
        return value
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _refusal(value, "is not an address such as 127.0.0.1:11434")
    return Address.parse(str(value))


def read_name(text: str) -> str:
    """Return the name of a group or an instance. Raises ValueError."""
    if NAME.fullmatch(text) is None:
        raise _refusal(text, "is not a name of a-z, 0-9 and -, at most 63 long")
    return text


def read_model(text: str) -> str:
    """Return the name of a model as it is written. Raises ValueError where Ollama would."""
    try:
        ModelName.parse(text)
    except ValueError:
        raise _refusal(text, "is not the name of a model such as qwen3:8b") from None
    return text


def read_gpus(value: object) -> Literal["auto"] | tuple[int | str, ...]:
    """Read a list of GPUs, or `auto`. Raises ValueError."""
    if value == "auto":
        return "auto"
    if not isinstance(value, list | tuple):
        raise _refusal(value, "is neither auto nor a list such as [0, 1]")
    return tuple(_gpu(item) for item in value)


def _gpu(item: object) -> int | str:
    text = str(item) if isinstance(item, str | int) and not isinstance(item, bool) else ""
    if re.fullmatch(r"0|[1-9][0-9]{0,2}", text):
        return int(text)
    if text == "auto":
        raise _refusal(text, "stands alone, not in a list: gpus: auto")
    if text.lstrip("-").isdecimal() or _GPU_ID.fullmatch(text) is None:
        raise _refusal(item, "is neither the index nor the UUID of a GPU")
    return text


def read_instance_ports(value: object) -> Literal["auto"] | int:
    """Read the first port of the instances, or `auto`. Raises ValueError."""
    if value == "auto":
        return "auto"
    if isinstance(value, str | int) and re.fullmatch(r"[0-9]{1,5}", str(value)):
        port = int(value)
        if 1 <= port <= MAX_PORT:
            return port
    raise _refusal(value, "is neither auto nor a port from 1 to 65535")


def read_url(text: str) -> str:
    """Read the address of a server; nothing but scheme, host and port. Raises ValueError."""
    refused = _refusal(text, "is not an address such as http://attic.lan:11434")
    try:
        url = urlsplit(filled_text(text))
        port = url.port
    except ValueError:
        raise refused from None
    extra = url.path not in ("", "/") or url.query or url.fragment or "@" in url.netloc
    host = url.hostname or ""
    if url.scheme not in ("http", "https") or extra or not _URL_HOST.fullmatch(host):
        raise refused
    shown = f"[{host}]" if ":" in host else host
    return f"{url.scheme}://{shown}" + (f":{port}" if port is not None else "")


def read_collector(text: str) -> str:
    """Read the address of a collector of traces, which may have a path. Raises ValueError."""
    scheme, slashes, rest = text.partition("://")
    host, slash, path = rest.partition("/")
    try:
        server = read_url(scheme + slashes + host)
    except ValueError:
        server = ""
    if not server or not _URL_PATH.fullmatch(path):
        raise _refusal(text, "is not an address such as http://127.0.0.1:4318")
    return server + (slash + path).rstrip("/")


def read_origin(text: str) -> str:
    """Return the origin of a web page, or a pattern of such. Raises ValueError where Ollama would.

    Those with a `*` may begin with anything, as Ollama has it; the others with one of its schemes.
    """
    origin = filled_text(text).strip()
    if not origin.isascii() or not origin.isprintable():
        raise _refusal(text, "is not an origin such as https://chat.example")
    if origin.count("*") > 1:
        raise _refusal(text, "has more than one *")
    if "*" not in origin and not origin.startswith(_ORIGIN_SCHEMES):
        raise _refusal(text, f"has no * and begins with none of {', '.join(_ORIGIN_SCHEMES)}")
    return origin


def read_registry(text: str) -> str:
    """Return a registry's host, with its port if it has one, as names of models have it."""
    host = filled_text(text).strip().lower()
    if host != "*" and not _REGISTRY.fullmatch(host):
        raise _refusal(text, "is not a host such as registry.ollama.ai, hf.co or 10.0.0.5:5000")
    return host


def read_network(text: str) -> str:
    """Return an address, or a network of them, as `10.0.0.0/8`."""
    try:
        return str(ipaddress.ip_network(filled_text(text).strip(), strict=False))
    except ValueError:
        raise _refusal(text, "is not an address or a network such as 10.0.0.0/8") from None


def show_value(value: object) -> str:
    """Name a rejected value on one line: as it was written if it is a scalar, else its kind."""
    if value is None:
        return "no value"
    if isinstance(value, dict):
        return "a section"
    if isinstance(value, list | tuple):
        return "a list"
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def _refusal(value: object, why: str) -> ValueError:
    return ValueError(f"{show_value(value)} {why}")
