"""What the simulated registry holds for a model: its layers, their digests, their first bytes.

Weights are a line of text and a hole up to the model's size, so a store of hundreds of gigabytes
takes no disk. Up to HASHED_UP_TO_BYTES their digest is that of these bytes, so that copies can be
verified; beyond, hashing zeros would take too long and the digest is made up from name and size.
"""

import hashlib
import json

from ollama_fleet.names import ModelName
from ollama_fleet.sim.ollama.profile import Model, Profile
from ollama_fleet.sim.ollama.store import CONFIG, MODEL, TEMPLATE, Layer, Store

HASHED_UP_TO_BYTES = 16_000_000
CHAT_TEMPLATE = "{{- range .Messages }}[{{ .Role }}] {{ .Content }}\n{{ end }}[assistant] "


def layers_of(model: Model) -> tuple[list[tuple[Layer, bytes]], tuple[Layer, bytes]]:
    """The layers and the config a model has in the simulated registry, with what they begin with.

    The weights are that beginning and a hole up to their size.
    """
    start = f"simulated weights {model.name}\n".encode()[: model.size_bytes]
    weights = _layer(MODEL, start, weights_digest(model, start), model.size_bytes)
    template = CHAT_TEMPLATE.encode()
    layers = [(weights, start), (_layer(TEMPLATE, template), template)]
    config = json.dumps(
        {
            "model_format": "gguf",
            "model_family": model.family,
            "model_families": [model.family],
            "model_type": model.parameter_size,
            "file_type": model.quantization,
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer, _ in layers]},
            "sim": {
                "capabilities": list(model.capabilities),
                "context_length": model.context_length,
                "embedding_length": model.embedding_length,
                "speed": model.speed,
            },
        },
        separators=(",", ":"),
    ).encode()
    return layers, (_layer(CONFIG, config), config)


def weights_digest(model: Model, start: bytes) -> str:
    """The digest of a model's weights: true for small ones, made up for large ones."""
    if model.size_bytes > HASHED_UP_TO_BYTES:
        return f"sha256:{hashlib.sha256(f'{model.name} {model.size_bytes}'.encode()).hexdigest()}"
    content = start.ljust(model.size_bytes, b"\0")
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def install(store: Store, model: Model) -> None:
    """Put a model into the store at once, as if it had been pulled. Takes no disk space."""
    store.create_directories()
    layers, config = layers_of(model)
    for layer, start in (*layers, config):
        path = store.blob(layer["digest"])
        if not path.exists():
            store.write(path, start, layer["size"])
    name = ModelName.parse(model.name)
    if store.find(name) is None:
        store.write_manifest(name, config[0], [layer for layer, _ in layers])


def install_profile(store: Store, profile: Profile) -> None:
    """Put everything into the store that the profile lists as installed."""
    store.create_directories()
    for name in profile.installed:
        model = profile.model(name)
        assert model is not None
        install(store, model)


def _layer(media_type: str, content: bytes, digest: str = "", size_bytes: int = 0) -> Layer:
    return {
        "mediaType": media_type,
        "digest": digest or f"sha256:{hashlib.sha256(content).hexdigest()}",
        "size": size_bytes or len(content),
    }
