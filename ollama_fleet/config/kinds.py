"""The kinds of value a key can hold, as pydantic and the JSON Schema know them."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
)

from ollama_fleet.config.address import MAX_PORT, Address
from ollama_fleet.config.scalars import (
    NAME,
    clean_text,
    filled_text,
    read_address,
    read_bytes,
    read_collector,
    read_gpus,
    read_instance_ports,
    read_model,
    read_name,
    read_network,
    read_origin,
    read_registry,
    read_seconds,
    read_url,
    show_duration_exactly,
    show_size_exactly,
)
from ollama_fleet.config.strategies import STRATEGIES, read_strategy

_NUMBER = r"([0-9]+(\.[0-9]*)?|\.[0-9]+)"
_DURATION_PATTERN = rf"^[+-]?({_NUMBER}|({_NUMBER}(ns|us|µs|ms|s|m|h))+)$"
_SIZE_PATTERN = r"^[0-9]+(\.[0-9]+)?\s*([kKmMgGtT][iI]?)?[bB]?$"


def _located(text: str, info: ValidationInfo) -> str:
    """Make a path that starts with `~` or a folder absolute; the context knows from where."""
    context: dict[str, Any] = info.context or {}
    home: Path | None = context.get("home")
    bases: dict[str, Path] = context.get("bases", {})
    if home and (text == "~" or text.startswith("~/")):
        return str(home / text[2:])
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"{text!r} names a home folder that does not exist") from None
    return str(bases.get(info.field_name or "", Path()) / path)


def _located_program(text: str, info: ValidationInfo) -> str:
    return _located(text, info) if "/" in text else text


def _located_path(path: Path, info: ValidationInfo) -> Path:
    return Path(_located(str(path), info))


def _filled(value: object) -> object:
    return filled_text(value) if isinstance(value, str) else value


_DURATION_SCHEMA: dict[str, Any] = {
    "type": ["string", "number"],
    "pattern": _DURATION_PATTERN,
    "examples": ["30s", "10m", "1h30m"],
}
_SIZE_SCHEMA: dict[str, Any] = {
    "type": ["string", "integer"],
    "pattern": _SIZE_PATTERN,
    "minimum": 0,
    "examples": ["256MiB", "24GiB"],
}

Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Weight = Annotated[float, Field(ge=0, le=1e6)]
Share = Annotated[float, Field(ge=0, le=1)]
CountOrZero = Annotated[int, Field(ge=0, le=2**31 - 1)]
AnyDuration = Annotated[
    float,
    BeforeValidator(read_seconds),
    PlainSerializer(show_duration_exactly, when_used="json"),
    WithJsonSchema(_DURATION_SCHEMA),
]
Duration = Annotated[
    float,
    BeforeValidator(read_seconds),
    Field(gt=0),
    PlainSerializer(show_duration_exactly, when_used="json"),
    WithJsonSchema({**_DURATION_SCHEMA, "exclusiveMinimum": 0}),
]
DurationOrZero = Annotated[
    float,
    BeforeValidator(read_seconds),
    Field(ge=0),
    PlainSerializer(show_duration_exactly, when_used="json"),
    WithJsonSchema({**_DURATION_SCHEMA, "minimum": 0}),
]
Size = Annotated[
    int,
    BeforeValidator(read_bytes),
    PlainSerializer(show_size_exactly, when_used="json"),
    WithJsonSchema(_SIZE_SCHEMA),
]
AddressText = Annotated[
    Address,
    PlainValidator(read_address),
    PlainSerializer(str, when_used="json"),
    WithJsonSchema(
        {"type": ["string", "integer"], "examples": ["127.0.0.1:11434", "[::1]:11434", ":11434"]}
    ),
]
Text = Annotated[str, AfterValidator(filled_text)]
EnvText = Annotated[
    str,
    AfterValidator(clean_text),
    WithJsonSchema({"type": ["string", "number", "boolean"]}),
]
Name = Annotated[
    str,
    AfterValidator(read_name),
    WithJsonSchema({"type": "string", "pattern": f"^{NAME.pattern}$"}),
]
StrategyName = Annotated[
    str,
    AfterValidator(read_strategy),
    WithJsonSchema({"type": "string", "examples": list(STRATEGIES)}),
]
ModelText = Annotated[str, AfterValidator(read_model)]
OriginText = Annotated[
    str,
    AfterValidator(read_origin),
    WithJsonSchema({"type": "string", "examples": ["https://chat.example", "http://*.lan", "*"]}),
]
RegistryText = Annotated[
    str,
    AfterValidator(read_registry),
    WithJsonSchema({"type": "string", "examples": ["registry.ollama.ai", "hf.co", "*"]}),
]
Gpus = Annotated[
    Literal["auto"] | tuple[int | str, ...],
    PlainValidator(read_gpus),
    PlainSerializer(lambda gpus: gpus if gpus == "auto" else list(gpus), when_used="json"),
    WithJsonSchema(
        {
            "anyOf": [
                {"const": "auto"},
                {"type": "array", "items": {"type": ["integer", "string"], "minimum": 0}},
            ]
        }
    ),
]
InstancePorts = Annotated[
    Literal["auto"] | int,
    PlainValidator(read_instance_ports),
    WithJsonSchema(
        {"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1, "maximum": MAX_PORT}]}
    ),
]
Url = Annotated[
    str,
    AfterValidator(read_url),
    WithJsonSchema({"type": "string", "pattern": "^https?://[^/?#@]+/?$"}),
]
CollectorUrl = Annotated[
    str,
    AfterValidator(read_collector),
    WithJsonSchema({"type": "string", "pattern": "^https?://[^?#@]+$"}),
]
Program = Annotated[str, AfterValidator(filled_text), AfterValidator(_located_program)]
Folder = Annotated[
    Path,
    BeforeValidator(_filled),
    AfterValidator(_located_path),
    PlainSerializer(str, when_used="json"),
    WithJsonSchema({"type": "string", "examples": ["~/.ollama/models"]}),
]
PemFile = Annotated[
    Path,
    BeforeValidator(_filled),
    AfterValidator(_located_path),
    PlainSerializer(str, when_used="json"),
    WithJsonSchema({"type": "string", "examples": ["/etc/ollama-fleet/fleet.pem"]}),
]
Network = Annotated[
    str,
    AfterValidator(read_network),
    WithJsonSchema({"type": "string", "examples": ["10.0.0.0/8", "192.168.1.7", "fd00::/8"]}),
]
