"""How much text a request brings, and how it begins: what foretells its prefill.

The text is what prompts are made of, as it stands in the body: JSON, not tokens. It is enough to
tell a long prompt from a short one, and one that goes on from another that an instance has had.
"""

from typing import Final

BLOCK_BYTES: Final = 512
OPENING_BYTES: Final = 32 * BLOCK_BYTES  # more than that is not looked at

_LONG_BYTES: Final = 16 * 1024  # what is shorter holds no picture worth looking for
_PICTURE_BYTES: Final = 4 * 1024


def prefix(text: bytes) -> tuple[int, ...]:
    """Digests of the first block of a text, of the first two, the first three, ...

    Of two prompts' prefixes as many agree as they have blocks in common from the beginning. Good
    within one process only; a block that is not whole yet has none.
    """
    digests = []
    digest = 0
    for end in range(BLOCK_BYTES, min(len(text), OPENING_BYTES) + 1, BLOCK_BYTES):
        digest = hash((digest, text[end - BLOCK_BYTES : end]))
        digests.append(digest)
    return tuple(digests)


def text_bytes(beginning: bytes, size: int) -> int:
    """Bytes of text in a JSON value of `size` bytes, of which only the beginning may be known.

    Pictures do not count: they come as base64, and cost what a sentence costs. Every API says
    "image" before one. Where the beginning has one, so will the rest.
    """
    if len(beginning) < _LONG_BYTES or b"image" not in beginning:
        return size
    found = sum(len(part) for part in beginning.split(b'"') if _is_picture(part))
    return len(beginning) - found if found else size


def _is_picture(part: bytes) -> bool:
    """Whether what stands between two quotes is base64: long, without a blank or an escape."""
    if len(part) < _PICTURE_BYTES:
        return False
    start = part[:_PICTURE_BYTES]
    return b" " not in start and b"\\" not in start and start.isascii()
