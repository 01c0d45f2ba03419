"""Log lines on stderr in the form of Ollama's own (Go's slog text handler)."""

import json
import re
import sys
import time

from ollama_fleet.sim.ollama.environment import Settings
from ollama_fleet.units import show_bytes

# By vendor: the library, what code is built for, the first letters of a device, its folder.
_LIBRARIES = {
    "nvidia": ("cuda", "9.0", "CUDA", "ollama,cuda_v13"),
    "amd": ("ROCm", "gfx942", "ROCm", "ollama,rocm"),
}
_PLAIN = re.compile(r"[^\s\"=]+")


def log(message: str, *, level: str = "INFO", source: str, **fields: object) -> None:
    """Write one line; values are quoted where Go quotes them."""
    now = time.time()
    second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
    head = f"time={second}.{int(now * 1000) % 1000:03}Z level={level} source={source}"
    pairs = {"msg": message, **fields}
    line = " ".join(f"{key}={_value(str(value))}" for key, value in pairs.items())
    sys.stderr.write(f"{head} {line}\n")
    sys.stderr.flush()


def log_store(present: int | None, removed: int) -> None:
    """What a starting server found in its store; None where it did not look."""
    if present is not None:
        log(f"total blobs: {present}", source="images.go:499")
        log(f"total unused blobs removed: {removed}", source="images.go:506")


def log_listening(host: str, port: int, version: str) -> None:
    """The line supervisors look for."""
    shown = f"[{host}]" if ":" in host else host
    log(f"Listening on {shown}:{port} (version {version})", source="routes.go:1802")


def log_loaded(load_s: float) -> None:
    """A model has come into memory, in so many seconds."""
    log(f"llama runner started in {load_s:.2f} seconds", source="server.go:1390")


def log_resources(settings: Settings) -> None:
    """One `inference compute` line for each GPU, or one for the CPU."""
    log("discovering available GPUs...", source="runner.go:67")
    if settings.overridden and not settings.nodes:
        for name, value in settings.overridden:
            log(
                "user overrode visible devices",
                level="WARN",
                source="runner.go:485",
                **{name: value},
            )
        advice = "if GPUs are not correctly discovered, unset and try again"
        log(advice, level="WARN", source="runner.go:489")
    for position, node in enumerate(settings.nodes):
        log(
            "inference compute",
            source="types.go:60",
            id=node.uuid,
            library=_LIBRARIES[node.vendor][0],
            compute=_LIBRARIES[node.vendor][1],
            name=f"{_LIBRARIES[node.vendor][2]}{position}",
            description=node.gpu_name,
            libdirs=_LIBRARIES[node.vendor][3],
            driver="13.0",
            pci_id=f"0000:{node.index + 1:02x}:00.0",
            type="iGPU" if node.kind == "integrated" else "discrete",
            total=show_bytes(node.memory_bytes),
            available=show_bytes(node.memory_bytes),
        )
    if not settings.nodes:
        log(
            "inference compute",
            source="types.go:60",
            id="cpu",
            library="cpu",
            compute="",
            name="cpu",
            description="cpu",
            libdirs="ollama",
            driver="",
            pci_id="",
            type="",
            total="32.0 GiB",
            available="24.0 GiB",
        )


def _value(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
