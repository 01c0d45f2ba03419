"""The environment of an instance: little of ours, what the configuration says, what must be."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from ollama_fleet.gpu import Gpu, GpuKind, Vendor
from ollama_fleet.placement import kept

if TYPE_CHECKING:
    from ollama_fleet.config import Settings

# A child hands its whole environment on to the runner that reads untrusted model files, and stray
# LLAMA_* variables would change that runner: so nothing is inherited that is not named here.
INHERITED: Final = frozenset({
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR",
})  # fmt: skip
INHERITED_PREFIXES: Final = ("LC_", "OLLAMA_SIM_")

# Requests wait in the router: Ollama's own queue must never be what refuses one.
_MAX_QUEUE: Final = "4096"
_NONE_VISIBLE: Final = "-1"


def environment(
    settings: "Settings",
    gpus: Sequence[Gpu],
    *,
    port: int,
    store: str,
    inherited: Mapping[str, str],
) -> dict[str, str]:
    """Every variable an instance starts with; later ones win: inherited, settings, the fleet's."""
    return {
        **{name: value for name, value in inherited.items() if is_inherited(name)},
        "OLLAMA_MAX_QUEUE": _MAX_QUEUE,
        **kept.variables(settings, gpus),
        **_integrated(gpus),
        **settings.environment(),
        **visible_devices(gpus),
        "OLLAMA_VULKAN": "1" if uses_vulkan(settings, gpus) else "0",
        "OLLAMA_HOST": f"127.0.0.1:{port}",
        "OLLAMA_MODELS": store,
        # One instance starting must not prune what another is just downloading.
        "OLLAMA_NOPRUNE": "1",
    }


def is_inherited(name: str) -> bool:
    """Whether an instance gets that variable of the fleet's own environment."""
    return name in INHERITED or name.startswith(INHERITED_PREFIXES)


def uses_vulkan(settings: "Settings", gpus: Sequence[Gpu]) -> bool:
    """Whether Ollama may look for GPUs through Vulkan, which lists all there are of any vendor.

    Only where it was asked for and the instance has no GPU: beside CUDA or ROCm, the cards that
    are hidden from these would come back.
    """
    return not gpus and bool(settings.vulkan)


def visible_devices(gpus: Iterable[Gpu]) -> dict[str, str]:
    """The variables that show exactly these GPUs to CUDA and ROCm and hide all others.

    By UUID, but for AMD's cards that ROCm knows by number alone. HIP is told its cards too, by
    their place among those that ROCR leaves: unset, it would go by CUDA's list.
    """
    chosen = tuple(gpus)
    nvidia = [gpu.uuid for gpu in chosen if gpu.vendor is Vendor.NVIDIA]
    amd = [gpu.visible_as or gpu.uuid for gpu in chosen if gpu.vendor is Vendor.AMD]
    return {
        "CUDA_VISIBLE_DEVICES": ",".join(nvidia) or _NONE_VISIBLE,
        "ROCR_VISIBLE_DEVICES": ",".join(amd) or _NONE_VISIBLE,
        "HIP_VISIBLE_DEVICES": ",".join(map(str, range(len(amd)))) or _NONE_VISIBLE,
    }


def _integrated(gpus: Iterable[Gpu]) -> dict[str, str]:
    """From 0.30 on Ollama leaves most integrated GPUs out unless it is told; older ones do not."""
    if any(gpu.kind is GpuKind.INTEGRATED for gpu in gpus):
        return {"OLLAMA_IGPU_ENABLE": "1"}
    return {}
