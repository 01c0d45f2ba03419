import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet import names
from ollama_fleet.names import ModelName, Source, canonical, is_cloud, is_passing, manifest_path
from ollama_fleet.units import go_duration, parse_duration, parse_size, show_bytes, show_duration


@pytest.mark.parametrize(
    ("text", "key", "shown"),
    [
        ("llama3", "registry.ollama.ai/library/llama3:latest", "llama3:latest"),
        (" Llama3.2:1B ", "registry.ollama.ai/library/llama3.2:1b", "llama3.2:1b"),
        ("me/mine", "registry.ollama.ai/me/mine:latest", "me/mine:latest"),
        ("hf.co/You/It:Q4", "hf.co/you/it:q4", "hf.co/you/it:q4"),
        ("localhost:5000/a/b", "localhost:5000/a/b:latest", "localhost:5000/a/b:latest"),
        ("http://h:1/a/b:c", "h:1/a/b:c", "h:1/a/b:c"),
        ("x:local", "registry.ollama.ai/library/x:latest", "x:latest"),
        ("x:tag:local", "registry.ollama.ai/library/x:tag", "x:tag"),
        ("x:Cloud", "registry.ollama.ai/library/x:cloud", "x:cloud"),
        ("x:tag:cloud", "registry.ollama.ai/library/x:tag-cloud", "x:tag-cloud"),
        ("x:tag-cloud", "registry.ollama.ai/library/x:tag-cloud", "x:tag-cloud"),
    ],
)
def test_names_are_completed_as_ollama_completes_them(text, key, shown):
    name = ModelName.parse(text)
    assert (name.key, str(name), canonical(text)) == (key, shown, key)


def test_a_source_suffix_is_told_apart_from_a_tag():
    assert ModelName.parse("x:120b-cloud").source is Source.CLOUD
    assert ModelName.parse("x:120b:local").source is Source.LOCAL
    assert ModelName.parse("my-cloud-model").source is Source.ANY
    assert ModelName.parse("my-cloud").source is Source.ANY
    assert ModelName.parse("localhost:5000/a-cloud/b").source is Source.ANY


def test_a_cloud_model_is_never_taken_for_the_local_one():
    """Its key is that of the stub which Ollama lists for it."""
    for text in ("x:cloud", "x:120b-cloud", "x:120b:cloud"):
        assert is_cloud(canonical(text))
        assert canonical(text) != canonical(text.replace(":cloud", "").replace("-cloud", ""))
    for text in ("x", "my-cloud", "cloud", "x:local", "x:cloudy"):
        assert not is_cloud(canonical(text))


def test_a_name_for_one_pull_is_told_from_a_model_of_a_registry():
    token = "0f" * 32
    assert is_passing(canonical(f"10.0.0.1:4000/{token}/m:8b"))
    assert is_passing(canonical(f"http://box:1/{token}/M"))
    for text in ("m", f"{token}/m", f"box/{token}/m", f"box:1/{token[1:]}/m", "box:5000/me/m"):
        assert not is_passing(canonical(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a b",
        "a/../b",
        "a:",
        "/a",
        "a//b",
        "x" * 81,
        "a@sha256:1",
        "x:cloud:local",
        "x:local:cloud",
        "x:local-cloud",
        ":cloud",
        "x::cloud",
    ],
)
def test_what_ollama_refuses_is_refused(text):
    with pytest.raises(ValueError, match="is not a model name"):
        ModelName.parse(text)
    assert canonical(text) == text.strip().lower()


def test_a_reference_of_any_length_has_a_key_and_only_short_ones_are_kept():
    kept = names._canonical.cache_info().currsize
    assert canonical("X" * 10**6) == "x" * 10**6
    assert names._canonical.cache_info().currsize == kept


@pytest.mark.parametrize(
    ("shown", "path"),
    [
        ("llama3:latest", "registry.ollama.ai/library/llama3/latest"),
        ("Me/Mine:7B", "registry.ollama.ai/Me/Mine/7B"),
        ("hf.co/You/It:Q4", "hf.co/You/It/Q4"),
        ("x:120b-cloud", "registry.ollama.ai/library/x/120b-cloud"),
    ],
)
def test_a_manifest_lies_under_its_name_as_it_is_written(shown, path):
    assert manifest_path(shown) == path


def test_no_name_leads_out_of_the_manifests():
    for shown in ("../x:y", "x:../y", "a/../../b", "x:.."):
        with pytest.raises(ValueError, match="is not a model name"):
            manifest_path(shown)


@given(st.text(max_size=30))
def test_a_shown_name_means_the_same_model(text):
    try:
        name = ModelName.parse(text)
    except ValueError:
        return
    assert ModelName.parse(str(name)).key == name.key


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10m", 600),
        ("1h30m", 5400),
        ("90", 90),
        (2.5, 2.5),
        ("-1", -1),
        ("250ms", 0.25),
        ("1e3", 1000),
    ],
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "1x", "1m garbage", "m", "1 m", "inf", "nan", "1e"])
def test_what_is_no_duration_says_so(text):
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@given(st.floats(0, 1e6))
def test_a_duration_survives_the_form_ollama_reads(seconds):
    assert parse_duration(go_duration(seconds)) == pytest.approx(seconds, abs=1e-9)


@pytest.mark.parametrize(
    ("text", "count"), [("24GiB", 24 * 2**30), ("800MB", 8 * 10**8), ("1.5k", 1500), (7, 7)]
)
def test_sizes(text, count):
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["big", "", "1.2.3", "9" * 400, "-1"])
def test_what_is_no_size_says_so(text):
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


def test_figures_for_people():
    assert (show_bytes(512), show_bytes(24 * 2**30)) == ("512 B", "24.0 GiB")
    assert [show_duration(s) for s in (5, 200, 3900, 180000)] == ["5s", "3m20s", "1h05m", "2d2h"]
