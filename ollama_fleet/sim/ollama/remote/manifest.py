"""What a manifest from a registry says, read as Go reads it."""

import re

from ollama_fleet.sim.ollama.golang.binding import BindingError, Struct, bind
from ollama_fleet.sim.ollama.golang.json import EmptyBodyError, SyntaxProblemError, decode
from ollama_fleet.sim.ollama.remote.http import HttpError

DIGEST = re.compile(r"sha256[:-][0-9a-fA-F]{64}")
_CUT = "unexpected end of JSON input"
_LAYER = Struct("manifest.Layer", {"mediaType": "string", "digest": "string", "size": "int"})
_MANIFEST = Struct(
    "manifest.Manifest",
    {"schemaVersion": "int", "mediaType": "string", "config": _LAYER, "layers": [_LAYER]},
)


def digests(content: bytes) -> list[str]:
    """The digests of the layers, and of the config where there is one. Raises HttpError."""
    try:
        manifest = bind(decode(content), _MANIFEST)
    except EmptyBodyError:
        raise HttpError(_CUT) from None
    except (SyntaxProblemError, BindingError) as error:
        raise HttpError(str(error).replace("unexpected EOF", _CUT)) from None
    config = manifest.get("config", {}).get("digest", "")
    layers = [layer.get("digest", "") for layer in manifest.get("layers", ())]
    return [*layers, config] if config else layers
