"""Questions to NVML, by the names of its calls: NVIDIA takes calls out of pynvml, too."""

from typing import Any

import pynvml

from ollama_fleet.gpu.nvml.troubles import LARGER


def ask(function: str, *arguments: object) -> Any | None:
    """One value; None where it is refused or the call is not known.

    Raises NVMLError only for what is wrong with the whole card or driver.
    """
    call = getattr(pynvml, function, None)
    if call is None:
        return None
    try:
        return call(*arguments)
    except pynvml.NVMLError as error:
        if error.value in LARGER:
            raise
        return None
    except UnicodeDecodeError:  # pynvml decodes strictly what a sick card may garble
        return None


def has_none(function: str, *arguments: object) -> bool:
    """Whether the driver says that there is no such value here, rather than that it cannot tell.

    Raises NVMLError as `ask` does.
    """
    try:
        getattr(pynvml, function)(*arguments)
    except pynvml.NVMLError as error:
        if error.value in LARGER:
            raise
        return bool(error.value == pynvml.NVML_ERROR_NOT_SUPPORTED)
    return False


def uuid_of(handle: Any) -> str:
    """The identity of a card or slice. Raises NVMLError, also for one that is garbled."""
    try:
        return text(pynvml.nvmlDeviceGetUUID(handle))
    except UnicodeDecodeError:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_UNKNOWN) from None


def memory_of(handle: Any) -> Any | None:
    """`total`, `used` and, from newer drivers, `reserved`: what the driver keeps for itself.

    The older call counts the reserved part as used, so that an idle card never reads as empty.
    """
    newer = ask("nvmlDeviceGetMemoryInfo", handle, pynvml.nvmlMemory_v2)
    return newer or ask("nvmlDeviceGetMemoryInfo", handle)


def text(value: str | bytes | None) -> str:
    """A name from pynvml, which gives some as bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""


__all__ = ["ask", "has_none", "memory_of", "text", "uuid_of"]
