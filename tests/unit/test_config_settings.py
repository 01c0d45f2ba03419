"""What an instance's environment becomes."""

import re

import pytest
from pydantic import ValidationError

from ollama_fleet.config import Config, GroupConfig, Settings
from ollama_fleet.config.settings import RESERVED, SETTING_KEYS, VARIABLES

# Ollama's serving variables: its envconfig, llama.cpp's own, the GPU run time's and the proxies.
SERVING = {
    "OLLAMA_NUM_PARALLEL", "OLLAMA_MAX_LOADED_MODELS", "OLLAMA_MAX_QUEUE",
    "OLLAMA_MAX_TRANSFER_STREAMS", "OLLAMA_CONTEXT_LENGTH", "OLLAMA_KEEP_ALIVE",
    "OLLAMA_LOAD_TIMEOUT", "OLLAMA_KV_CACHE_TYPE", "OLLAMA_FLASH_ATTENTION", "OLLAMA_SCHED_SPREAD",
    "OLLAMA_GPU_OVERHEAD", "LLAMA_ARG_FIT", "LLAMA_ARG_FIT_TARGET", "OLLAMA_LLM_LIBRARY",
    "OLLAMA_VULKAN", "OLLAMA_IGPU_ENABLE", "OLLAMA_NO_CLOUD", "OLLAMA_CLOUD_BASE_URL",
    "OLLAMA_REMOTES", "OLLAMA_DEBUG", "OLLAMA_GO_TEMPLATE", "HSA_OVERRIDE_GFX_VERSION",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
}  # fmt: skip

FULL = Settings(
    num_parallel=2, max_loaded_models=0, max_queue=9, max_transfer_streams=3, context_length=4096,
    keep_alive_s=-1, load_timeout_s=90.5, kv_cache_type="q8_0", flash_attention=False,
    sched_spread=True, gpu_overhead_bytes=2**30, llama_arg_fit=True,
    llama_arg_fit_target_bytes=2**20 + 1, llm_library="cuda_v13", vulkan=False, igpu_enable=True,
    hsa_override_gfx_version="10.3.0", no_cloud=True, cloud_base_url="http://127.0.0.1:1",
    remotes=("a", "b"), http_proxy="http://p:1", https_proxy="http://p:2", no_proxy=("c",),
    go_template=False, debug=2, env={"LLAMA_ARG_CACHE_RAM": "0"},
)  # fmt: skip


def test_every_serving_variable_has_a_key_or_a_reason():
    """A variable is set by one key, or refused by name; no key is without a variable."""
    names = [variable.name for variable in VARIABLES.values()]
    assert sorted(names) == sorted(SERVING)
    assert set(SETTING_KEYS.values()) == set(VARIABLES)
    assert not SERVING & set(RESERVED)


def test_all_settings_are_rendered_as_ollama_reads_them():
    assert FULL.environment() == {
        "OLLAMA_NUM_PARALLEL": "2", "OLLAMA_MAX_LOADED_MODELS": "0", "OLLAMA_MAX_QUEUE": "9",
        "OLLAMA_MAX_TRANSFER_STREAMS": "3", "OLLAMA_CONTEXT_LENGTH": "4096",
        "OLLAMA_KEEP_ALIVE": "-1s", "OLLAMA_LOAD_TIMEOUT": "90.5s", "OLLAMA_KV_CACHE_TYPE": "q8_0",
        "OLLAMA_FLASH_ATTENTION": "0", "OLLAMA_SCHED_SPREAD": "1",
        "OLLAMA_GPU_OVERHEAD": "1073741824", "LLAMA_ARG_FIT": "on", "LLAMA_ARG_FIT_TARGET": "2",
        "OLLAMA_LLM_LIBRARY": "cuda_v13", "OLLAMA_VULKAN": "0", "OLLAMA_IGPU_ENABLE": "1",
        "HSA_OVERRIDE_GFX_VERSION": "10.3.0", "OLLAMA_NO_CLOUD": "1",
        "OLLAMA_CLOUD_BASE_URL": "http://127.0.0.1:1", "OLLAMA_REMOTES": "a,b",
        "HTTP_PROXY": "http://p:1", "HTTPS_PROXY": "http://p:2", "NO_PROXY": "c",
        "OLLAMA_GO_TEMPLATE": "0", "OLLAMA_DEBUG": "2", "LLAMA_ARG_CACHE_RAM": "0",
    }  # fmt: skip


def test_what_is_unset_is_left_to_ollama():
    assert Settings().environment() == {}


def test_the_defaults_have_four_values():
    assert Config().defaults.environment() == {
        "OLLAMA_NUM_PARALLEL": "4",
        "OLLAMA_FLASH_ATTENTION": "1",
        "OLLAMA_KEEP_ALIVE": "1800s",
        "OLLAMA_CONTEXT_LENGTH": "8192",
    }


def test_a_group_wins_over_the_defaults():
    """What a group sets wins, false and zero too; the rest comes from below; env is merged."""
    group = GroupConfig(name="a", flash_attention=False, keep_alive_s=0, env={"A": "1", "B": "2"})
    below = Settings(flash_attention=True, keep_alive_s=5, num_parallel=7, env={"B": "3", "C": "4"})
    both = group.over(below)
    assert both == Settings(
        flash_attention=False, keep_alive_s=0, num_parallel=7, env={"A": "1", "B": "2", "C": "4"}
    )


def test_nothing_over_settings_changes_nothing():
    assert Settings().over(FULL) == FULL
    assert FULL.over(Settings()) == FULL


@pytest.mark.parametrize("name", [*RESERVED, "ollama_host", "Cuda_Visible_Devices"])
def test_what_the_fleet_sets_is_refused_with_its_reason(name):
    with pytest.raises(ValidationError, match=re.escape(RESERVED[name.upper()])):
        Settings(env={name: "1"})


@pytest.mark.parametrize("key", VARIABLES)
def test_what_has_a_key_is_refused_naming_the_key(key):
    with pytest.raises(ValidationError, match=f"use the key {key}$|use the key {key} "):
        Settings(env={VARIABLES[key].name: "1"})


@pytest.mark.parametrize("name", ["", "A B", "1A", "A=B", "A\0", "Ä"])
def test_what_is_no_variable_is_refused(name):
    with pytest.raises(ValidationError, match="is not the name of an environment variable"):
        Settings(env={name: "1"})


@pytest.mark.parametrize("value", ["a\0b", "\ud800"])
def test_what_no_process_can_be_given_is_refused(value):
    with pytest.raises(ValidationError, match=r"NUL character|not valid Unicode"):
        Settings(env={"A": value})


def test_records_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        Settings().num_parallel = 3
