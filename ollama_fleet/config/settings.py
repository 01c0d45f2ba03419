"""What an Ollama server can be told: one key per variable of its environment.

`VARIABLES` is the only place that knows which key sets which variable.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from ollama_fleet.config.kinds import (
    AnyDuration,
    Count,
    CountOrZero,
    EnvText,
    Size,
    Text,
)
from ollama_fleet.units import go_duration

CacheType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]

_NAME_OF_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Record(BaseModel):
    """A frozen part of the configuration: unknown keys are errors.

    In Python a field goes by its own name (`timeout_s`), in files by its alias (`timeout`); the
    docstring under a field is its description in the JSON Schema.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_by_name=True,
        validate_by_alias=True,
    )


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of Ollama's environment, and how a value is written in it."""

    name: str
    write: Callable[[Any], str] = str


def _switch(value: bool) -> str:  # noqa: FBT001  # it renders a value; there is nothing to name
    return "1" if value else "0"


def _on_off(value: bool) -> str:  # noqa: FBT001  # as above
    return "on" if value else "off"


def _mebibytes(count: int) -> str:
    return str(-(-count // 2**20))


VARIABLES: Mapping[str, Variable] = {
    "num_parallel": Variable("OLLAMA_NUM_PARALLEL"),
    "max_loaded_models": Variable("OLLAMA_MAX_LOADED_MODELS"),
    "max_queue": Variable("OLLAMA_MAX_QUEUE"),
    "max_transfer_streams": Variable("OLLAMA_MAX_TRANSFER_STREAMS"),
    "context_length": Variable("OLLAMA_CONTEXT_LENGTH"),
    "keep_alive": Variable("OLLAMA_KEEP_ALIVE", go_duration),
    "load_timeout": Variable("OLLAMA_LOAD_TIMEOUT", go_duration),
    "kv_cache_type": Variable("OLLAMA_KV_CACHE_TYPE"),
    "flash_attention": Variable("OLLAMA_FLASH_ATTENTION", _switch),
    "sched_spread": Variable("OLLAMA_SCHED_SPREAD", _switch),
    "gpu_overhead": Variable("OLLAMA_GPU_OVERHEAD"),
    "llama_arg_fit": Variable("LLAMA_ARG_FIT", _on_off),
    "llama_arg_fit_target": Variable("LLAMA_ARG_FIT_TARGET", _mebibytes),
    "llm_library": Variable("OLLAMA_LLM_LIBRARY"),
    "vulkan": Variable("OLLAMA_VULKAN", _switch),
    "igpu_enable": Variable("OLLAMA_IGPU_ENABLE", _switch),
    "hsa_override_gfx_version": Variable("HSA_OVERRIDE_GFX_VERSION"),
    "no_cloud": Variable("OLLAMA_NO_CLOUD", _switch),
    "cloud_base_url": Variable("OLLAMA_CLOUD_BASE_URL"),
    "remotes": Variable("OLLAMA_REMOTES", ",".join),
    "http_proxy": Variable("HTTP_PROXY"),
    "https_proxy": Variable("HTTPS_PROXY"),
    "no_proxy": Variable("NO_PROXY", ",".join),
    "go_template": Variable("OLLAMA_GO_TEMPLATE", _switch),
    "debug": Variable("OLLAMA_DEBUG"),
}

_BY_GPUS = "the fleet chooses the GPUs of an instance; use the key gpus"
RESERVED: Mapping[str, str] = {
    "OLLAMA_HOST": "every instance has an address of its own; use instance_ports, or listen",
    "OLLAMA_MODELS": "the fleet chooses the store; use ollama.models, or the key store of a group",
    "OLLAMA_NOPRUNE": "the fleet sets it, lest one instance prune what another downloads",
    "OLLAMA_ORIGINS": "web pages talk to the router only; use the key origins",
    "OLLAMA_DEBUG_LOG_REQUESTS": "it writes every prompt to disk; use the key debug",
    "CUDA_VISIBLE_DEVICES": _BY_GPUS,
    "ROCR_VISIBLE_DEVICES": _BY_GPUS,
    "HIP_VISIBLE_DEVICES": _BY_GPUS,
    "GPU_DEVICE_ORDINAL": _BY_GPUS,
    "GGML_VK_VISIBLE_DEVICES": _BY_GPUS,
}
_KEY_OF = {variable.name: key for key, variable in VARIABLES.items()}


def _variable_name(text: str) -> str:
    known = text.upper()
    if known in RESERVED:
        raise ValueError(f"{text} cannot be set here: {RESERVED[known]}")
    if known in _KEY_OF:
        raise ValueError(f"{text} cannot be set here: use the key {_KEY_OF[known]}")
    if _NAME_OF_VARIABLE.fullmatch(text) is None:
        raise ValueError(f"{text[:60]!r} is not the name of an environment variable")
    return text


VariableName = Annotated[str, AfterValidator(_variable_name)]


class Settings(Record):
    """How instances serve. A key that is not set is left to `defaults`, then to Ollama."""

    num_parallel: Count | None = None
    """Requests that an instance works on at once per model: its slots."""
    max_loaded_models: CountOrZero | None = None
    """Models that may be loaded at once; 0 means three per GPU."""
    max_queue: Count | None = None
    """Requests that may wait inside an instance for a model to load; more get its 503."""
    max_transfer_streams: Count | None = None
    """Parallel streams when Ollama transfers safetensors models."""
    context_length: CountOrZero | None = None
    """Context in tokens where a request asks for none; 0 lets Ollama choose by VRAM."""
    keep_alive_s: AnyDuration | None = Field(None, alias="keep_alive")
    """How long an idle model stays loaded; 0 unloads at once, a negative value means for ever."""
    load_timeout_s: AnyDuration | None = Field(None, alias="load_timeout")
    """How long a model load may stand still; 0 or less means for ever."""
    kv_cache_type: CacheType | None = None
    """Number format of the KV cache: q8_0 halves its size for little loss."""
    flash_attention: bool | None = None
    """Flash attention; unset, Ollama uses it where all GPUs support it."""
    sched_spread: bool | None = None
    """Spread a model over all GPUs of the instance, even if it fits on one."""
    gpu_overhead_bytes: Size | None = Field(None, alias="gpu_overhead")
    """VRAM per GPU that is kept from models; unset, 1 GiB of a card that has a display. Raises
    llama_arg_fit_target where that is unset."""
    llama_arg_fit: bool | None = None
    """Whether llama.cpp adapts what it loads to the memory that is free."""
    llama_arg_fit_target_bytes: Size | None = Field(None, alias="llama_arg_fit_target")
    """VRAM per GPU that llama.cpp keeps free when it fits a model; rounded up to MiB."""
    llm_library: Text | None = None
    """The one backend to load, by its folder: cuda_v12, cuda_v13, rocm, vulkan."""
    vulkan: bool | None = None
    """The Vulkan backend, for instances without GPUs: elsewhere it brings back hidden cards."""
    igpu_enable: bool | None = None
    """Use integrated GPUs; unset, Ollama decides by their kind."""
    hsa_override_gfx_version: Text | None = None
    """The version as which ROCm treats an AMD GPU that it does not know, such as 10.3.0."""
    no_cloud: bool | None = None
    """Keep Ollama from its cloud: no cloud models, no calls to ollama.com."""
    cloud_base_url: Text | None = None
    """Where Ollama's cloud is; its released builds accept loopback addresses only."""
    remotes: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    """Hosts to which Ollama may hand a request for a remote model."""
    http_proxy: Text | None = None
    """Proxy for plain HTTP to registries."""
    https_proxy: Text | None = None
    """Proxy for HTTPS to the registry and the cloud."""
    no_proxy: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    """Hosts that are reached without a proxy."""
    go_template: bool | None = None
    """Whether prompts may be rendered by a model's Go template."""
    debug: Annotated[int, Field(ge=0, le=2)] | None = None
    """What instances log beyond the usual: 1 debug, 2 trace, which may hold prompts."""
    numa_bind: bool | None = None
    """Keep each instance to the CPUs and the memory that are nearest to its GPUs."""
    env: dict[VariableName, EnvText] = Field(default_factory=dict)
    """Other environment variables of the instances. Those that have a key are refused."""

    def environment(self) -> dict[str, str]:
        """Return the variables that are to be set, by name; what is unset is left out."""
        variables = dict(self.env)
        for field, key in SETTING_KEYS.items():
            value = getattr(self, field)
            if value is not None:
                variables[VARIABLES[key].name] = VARIABLES[key].write(value)
        return variables

    def over(self, base: "Settings") -> "Settings":
        """Lay these settings over others: what is set here wins, `env` is merged by variable."""
        fields = Settings.model_fields.keys() - {"env"}
        values = {field: _first_set(getattr(self, field), base, field) for field in fields}
        return Settings.model_construct(**values, env={**base.env, **self.env})


def _first_set(value: object, base: Settings, field: str) -> Any:
    return value if value is not None else getattr(base, field)


SETTING_KEYS: Mapping[str, str] = {
    field: info.alias or field
    for field, info in Settings.model_fields.items()
    if (info.alias or field) in VARIABLES
}
"""Field in Python -> key in files, of every setting that has a variable."""


SHIPPED: Mapping[str, Any] = {
    "num_parallel": 4,
    "flash_attention": True,
    "keep_alive": "30m",
    "context_length": 8192,
    "numa_bind": True,
}
"""The keys of `defaults` that have a value where no file sets them; `null` leaves one to Ollama."""


def over_shipped(value: object) -> object:
    """Lay the `defaults` of a file over those of this program."""
    return {**SHIPPED, **value} if isinstance(value, Mapping) else value
