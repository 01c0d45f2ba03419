"""Bodies that are compressed with zstd, which Ollama's /v1 routes take. Pure."""

import sys

from ollama_fleet.sim.ollama.api.service import ApiError

ROUTES = frozenset(
    (
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/responses",
        "/v1/messages",
    )
)
UNPACKED_BYTES = 20 * 1024**2
_MAGIC = b"\x28\xb5\x2f\xfd"
_WINDOW_LOG = 23


def unpack(body: bytes) -> bytes:
    """What a body holds; an empty one is no frame and holds nothing. Raises ApiError 400."""
    if sys.version_info >= (3, 14):
        from compression import zstd  # noqa: PLC0415  # most runs never see such a body
    else:
        from backports import zstd  # noqa: PLC0415

    if not body:
        return b""
    if not body.startswith(_MAGIC):
        raise _refused("invalid input: magic number mismatch")
    bounds: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
    frame = zstd.ZstdDecompressor(options=bounds)
    try:
        text = frame.decompress(body, UNPACKED_BYTES + 1)
    except zstd.ZstdError:
        raise _refused("invalid input: corrupt frame") from None
    if len(text) > UNPACKED_BYTES:
        raise _refused("http: request body too large")
    if not frame.eof:
        raise _refused("unexpected EOF")
    return text


def _refused(text: str) -> ApiError:
    return ApiError(400, text, native=True)
