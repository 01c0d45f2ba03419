from fleet_fixtures import fleet
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.api import merged
from ollama_fleet.names import canonical
from ollama_fleet.state import Phase, ResidentModel, StoredModel


def stored(name, modified="2026-01-01T00:00:00Z"):
    row = {"name": name, "modified_at": modified}
    return StoredModel(canonical(name), name, "d", 1, row)


def resident(name, **row):
    row = {"name": name, **row}
    return ResidentModel(canonical(name), name, 1, 1, row.get("expires_at", ""), row)


def test_tags_are_the_union_over_live_instances_newest_first():
    state = fleet("a", "b", "c", models=())
    old, new = stored("old"), stored("new", "2026-06-01T00:00:00.123456789+02:00")
    state.set_stored(state.instances["a"], [old])
    state.set_stored(state.instances["b"], [old, new])
    state.set_stored(state.instances["c"], [stored("gone")])
    state.set_phase(state.instances["c"], Phase.FAILED, 0.0)
    assert [r["name"] for r in merged.tags(state)] == ["new", "old"]


def test_ps_has_one_row_for_a_model_its_sizes_summed():
    state = fleet("a", "b")
    early, late = "2026-01-01T00:00:00.1Z", "2026-01-01T00:05:00.987654321Z"
    fields = {"size": 10, "size_vram": 8, "context_length": 4096, "expires_at": early}
    state.set_resident(state.instances["a"], [resident("m:latest", **fields)])
    fields = {"size": 10, "size_vram": 10, "context_length": 2048, "expires_at": late}
    state.set_resident(
        state.instances["b"],
        [resident("m:latest", **fields), resident("n:latest", expires_at=early)],
    )
    first, second = merged.ps(state)
    assert first == {
        "name": "m:latest",
        "size": 20,
        "size_vram": 18,
        "context_length": 2048,
        "expires_at": late,
    }
    assert second["name"] == "n:latest"
    assert state.instances["a"].resident[canonical("m")].row["size"] == 10, "facts stay facts"


def test_ps_shows_old_weights_beside_the_new_of_their_name_as_one_ollama_does():
    state = fleet("a", "b")
    old, new = (resident("m:latest", digest=digest, size=10) for digest in ("old", "new"))
    state.set_resident(state.instances["a"], [new, old])
    state.set_resident(state.instances["b"], [new])
    assert {row["digest"]: row["size"] for row in merged.ps(state)} == {"old": 10, "new": 20}


def test_rows_of_one_second_stay_in_the_instance_s_order():
    """Ollama sorts by whole seconds: finer ones would turn its order about."""
    state = fleet("a", models=())
    times = [f"2026-01-01T00:00:0{second}.{tenth}Z" for second, tenth in ((1, 1), (1, 2), (2, 0))]
    names = ["first:latest", "second:latest", "late:latest"]
    pairs = list(zip(names, times, strict=True))
    state.set_resident(state.instances["a"], [resident(n, expires_at=t) for n, t in pairs])
    state.set_stored(state.instances["a"], [stored(n, t) for n, t in pairs])
    expected = ["late:latest", "first:latest", "second:latest"]
    assert [row["name"] for row in merged.ps(state)] == expected
    assert [row["name"] for row in merged.tags(state)] == expected


def test_openai_lists_the_same_models_with_their_owner():
    state = fleet("a", models=())
    state.set_stored(state.instances["a"], [stored("me/mine:7b"), stored("llama3:latest")])
    assert merged.models(merged.tags(state)) == {
        "object": "list",
        "data": [
            {"id": "me/mine:7b", "object": "model", "created": 1767225600, "owned_by": "me"},
            {
                "id": "llama3:latest",
                "object": "model",
                "created": 1767225600,
                "owned_by": "library",
            },
        ],
    }


def test_the_version_is_the_lowest_of_those_that_live():
    state = fleet("a", "b", "c")
    for name, version in (("a", "0.9.12"), ("b", "0.20.0"), ("c", "0.1.1")):
        state.instances[name].version = version
    state.set_phase(state.instances["c"], Phase.BACKOFF, 0.0)
    assert merged.version(state) == "0.9.12"
    assert merged.live(state)
    for instance in state.instances.values():
        state.set_phase(instance, Phase.BACKOFF, 0.0)
    assert merged.version(state) == ""
    assert not merged.live(state)


@given(
    st.dictionaries(
        st.sampled_from(["name", "expires_at", "size"]), st.none() | st.text() | st.integers()
    )
)
def test_rows_that_lie_do_no_harm(row):
    state = fleet("a", "b")
    for instance in state.instances.values():
        state.set_resident(instance, [ResidentModel("k", "n", 0, 0, "", row)])
        state.set_stored(instance, [StoredModel("k", "n", "d", 0, row)])
    assert len(merged.ps(state)) == 1
    assert len(merged.tags(state)) == 1
