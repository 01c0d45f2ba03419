"""Laws for every configuration: what is shown is what is meant, and what the schema allows."""

import re
import string
from pathlib import Path

import jsonschema
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ollama_fleet.config import (
    Address,
    Config,
    ExternalConfig,
    GroupConfig,
    HistoryConfig,
    LimitsConfig,
    Loaded,
    LogsConfig,
    ModelConfig,
    OllamaConfig,
    QueueConfig,
    RoutingConfig,
    Settings,
    SupervisionConfig,
    load,
    schema,
    show,
)
from ollama_fleet.config.scalars import MAX_BYTES, MAX_DURATION_S

SCHEMA = jsonschema.Draft202012Validator(schema())

# One folder serves all examples of a law; building a Config takes long on a busy machine.
LAW = settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

durations = st.floats(1e-9, MAX_DURATION_S)
any_durations = st.floats(-MAX_DURATION_S, MAX_DURATION_S)
sizes = st.one_of(st.integers(0, MAX_BYTES), st.integers(0, 999).map(lambda n: n * 2**30))
counts = st.integers(1, 2**31 - 1)
LOWER = string.ascii_lowercase + string.digits
names = st.text(LOWER, min_size=1, max_size=12)
models = st.tuples(names, st.sampled_from(["", ":70b", ".2", ":8b-q4_K_M"])).map("".join)
any_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
texts = any_text.filter(str.strip)
variables = st.text(string.ascii_letters + "_", max_size=140).map("X_{}".format)
gpu_ids = st.one_of(st.integers(0, 999), st.text("0123456789abcdef-").map("GPU-{}".format))

SETTINGS = {
    "num_parallel": counts, "max_loaded_models": counts, "max_queue": counts,
    "context_length": counts, "keep_alive_s": any_durations, "load_timeout_s": any_durations,
    "kv_cache_type": st.sampled_from(["q8_0", "f16"]), "flash_attention": st.booleans(),
    "sched_spread": st.booleans(), "gpu_overhead_bytes": sizes, "llama_arg_fit": st.booleans(),
    "llama_arg_fit_target_bytes": sizes, "llm_library": texts, "no_cloud": st.booleans(),
    "remotes": st.lists(texts, min_size=1, max_size=2).map(tuple), "debug": st.integers(0, 2),
    "env": st.dictionaries(variables, any_text, max_size=3),
}  # fmt: skip


def _some(fields):
    """Any choice of the fields, each with a value; those that can be None may be."""
    return st.fixed_dictionaries({}, optional=fields)


def _groups(parts):
    """Groups with names and GPUs of their own, at most the first of them `auto`."""
    names, settings_of, gpus, auto = parts
    shares = [tuple(gpus[index :: len(names)]) for index in range(len(names))]
    return tuple(
        GroupConfig(name=name, gpus="auto" if auto and not index else shares[index], **values)
        for index, (name, values) in enumerate(zip(names, settings_of, strict=False))
    )


groups = st.tuples(
    st.lists(names, unique=True, min_size=1, max_size=3),
    st.lists(_some({**SETTINGS, "count": counts}), min_size=3, max_size=3),
    st.lists(gpu_ids, unique=True, max_size=5),
    st.booleans(),
).map(_groups)
externals = st.lists(
    st.builds(
        ExternalConfig,
        name=names.map("x-{}".format),
        url=st.integers(1, 65535).map("http://a:{}".format),
        slots=counts,
    ),
    unique_by=(lambda external: external.name, lambda external: external.url),
    max_size=2,
).map(tuple)
limits = _some(
    {"body_bytes": sizes, "header_timeout_s": durations, "first_byte_timeout_s": durations}
).map(lambda values: LimitsConfig(**values))
supervision = _some(
    {"drain_timeout_s": durations, "start_limit": counts, "backoff_first_s": durations}
).map(lambda values: SupervisionConfig(**values))
shipped_or_not = _some(SETTINGS).map(lambda values: Settings(**values))
configs = st.builds(
    Config,
    listen=st.builds(Address, st.sampled_from(["127.0.0.1", "::1"]), st.integers(0, 65535)),
    insecure_no_auth=st.booleans(),
    ollama=st.builds(
        OllamaConfig,
        binary=texts.filter(lambda text: "/" not in text),
        models=texts.map(lambda text: Path("/", text)),
    ),
    instance_ports=st.one_of(st.just("auto"), st.integers(1, 65535)),
    defaults=shipped_or_not,
    groups=groups,
    instances=externals,
    models=st.dictionaries(
        models,
        st.builds(ModelConfig, preload=st.booleans(), replicas=st.none() | counts),
        max_size=3,
    ),
    routing=st.builds(RoutingConfig, strategy=st.sampled_from(["least_conn", "round_robin"])),
    queue=st.builds(QueueConfig, limit=counts, timeout_s=durations),
    limits=limits,
    supervision=supervision,
    history=st.builds(HistoryConfig, keep_s=durations, max_requests=counts, max_bytes=sizes),
    logs=st.builds(LogsConfig, max_bytes=sizes, keep=counts),
)


class _OneOrigin(dict):
    """Says of every key that it came from one place."""

    def __missing__(self, path):
        return "fleet.yaml:1:1"


def _shown(config, *, origin=False):
    return show(Loaded(config, None, _OneOrigin()), origin=origin)


def _loaded(folder, text):
    (folder / "fleet.yaml").write_text(text)
    return load(None, environ={}, cwd=folder, overrides={})


@LAW
@given(config=configs, origin=st.booleans())
def test_what_is_shown_loads_to_the_same(config, origin, tmp_path):
    """`config show` prints a file that means exactly the configuration it was made from."""
    assert _loaded(tmp_path, _shown(config, origin=origin)).config == config


@LAW
@given(config=configs)
def test_what_is_shown_satisfies_the_schema(config):
    """The schema accepts what the records accept, read by any YAML reader."""
    SCHEMA.validate(yaml.safe_load(_shown(config)))


@LAW
@given(config=configs)
def test_every_shown_value_has_an_origin(config, tmp_path):
    """Whoever shows a configuration that was loaded can say of each value who said it."""
    loaded = _loaded(tmp_path, _shown(config))
    for line in show(loaded, origin=True).splitlines():
        assert line.endswith(":") or re.search(r"  # fleet\.yaml:\d+:\d+$", line)
