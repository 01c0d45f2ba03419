"""Reads a GGUF file's metadata by the architecture's own keys. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ollama_fleet.vram.gguf import Value

_MOST: Final = 2**40  # of any count or length; what claims more is no model


@dataclass(frozen=True, slots=True)
class Metadata:
    """`key` stands for `<architecture>.key`. Wrong types count as absent, as they do for Ollama."""

    values: Mapping[str, Value]
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def architecture(self) -> str:
        """The name that the other keys begin with; empty for a file without one."""
        value = self.values.get("general.architecture")
        return value if isinstance(value, str) else ""

    def has(self, key: str) -> bool:
        """Whether the file says anything of it."""
        return f"{self.architecture}.{key}" in self.values

    def number(self, key: str, default: int) -> int:
        """One whole number. Raises ValueError for one that no model has."""
        value = self.values.get(f"{self.architecture}.{key}")
        if isinstance(value, tuple):
            value = max(value, default=default)
        return _sane(key, value) if isinstance(value, int) else default

    def per_layer(self, key: str, count: int, default: int) -> tuple[int, ...]:
        """A number for each layer, whether the file has one for all or an array."""
        value = self.values.get(f"{self.architecture}.{key}")
        if isinstance(value, tuple):
            numbers = tuple(_sane(key, n) if isinstance(n, int) else default for n in value[:count])
            return numbers + (default,) * (count - len(numbers))
        return (self.number(key, default),) * count

    def flags(self, key: str) -> tuple[bool, ...]:
        """An array of yes and no; empty where there is none."""
        value = self.values.get(f"{self.architecture}.{key}")
        return tuple(map(bool, value)) if isinstance(value, tuple) else ()


def _sane(key: str, value: int) -> int:
    if not 0 <= value <= _MOST:
        raise ValueError(f"its {key} is {value}")
    return int(value)
