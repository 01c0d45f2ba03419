"""Bytes of a tensor by its type: ggml's blocks, from the type traits in ggml.c. Pure."""

import math
from collections.abc import Mapping
from typing import Final

from ollama_fleet.vram.gguf import Tensor

BLOCKS: Final[Mapping[int, tuple[int, int]]] = {  # type: (elements of a block, its bytes)
    0: (1, 4),  # F32
    1: (1, 2),  # F16
    2: (32, 18),  # Q4_0
    3: (32, 20),  # Q4_1
    4: (32, 17),  # MXFP4 as Ollama wrote it before ggml had it
    6: (32, 22),  # Q5_0
    7: (32, 24),  # Q5_1
    8: (32, 34),  # Q8_0
    9: (32, 36),  # Q8_1
    10: (256, 84),  # Q2_K
    11: (256, 110),  # Q3_K
    12: (256, 144),  # Q4_K
    13: (256, 176),  # Q5_K
    14: (256, 210),  # Q6_K
    15: (256, 292),  # Q8_K
    16: (256, 66),  # IQ2_XXS
    17: (256, 74),  # IQ2_XS
    18: (256, 98),  # IQ3_XXS
    19: (256, 50),  # IQ1_S
    20: (32, 18),  # IQ4_NL
    21: (256, 110),  # IQ3_S
    22: (256, 82),  # IQ2_S
    23: (256, 136),  # IQ4_XS
    24: (1, 1),  # I8
    25: (1, 2),  # I16
    26: (1, 4),  # I32
    27: (1, 8),  # I64
    28: (1, 8),  # F64
    29: (256, 56),  # IQ1_M
    30: (1, 2),  # BF16
    34: (256, 54),  # TQ1_0
    35: (256, 66),  # TQ2_0
    39: (32, 17),  # MXFP4
    40: (64, 36),  # NVFP4
    41: (128, 18),  # Q1_0
    42: (64, 18),  # Q2_0
}
CACHE_BLOCKS: Final[Mapping[str, tuple[int, int]]] = {
    "f32": BLOCKS[0],
    "f16": BLOCKS[1],
    "bf16": BLOCKS[30],
    "q8_0": BLOCKS[8],
    "q4_0": BLOCKS[2],
    "q4_1": BLOCKS[3],
    "iq4_nl": BLOCKS[20],
    "q5_0": BLOCKS[6],
    "q5_1": BLOCKS[7],
}
_ALIGNMENT: Final = 32  # of tensors in memory and, unless metadata says otherwise, in a file


def tensor_bytes(tensor: Tensor) -> int:
    """What a tensor takes in memory, padded as ggml pads it.

    Raises ValueError for a type that is newer than the table here, or given up since.
    """
    if tensor.kind not in BLOCKS:
        raise ValueError(f"it has a tensor of the unknown type {tensor.kind}")
    block, size = BLOCKS[tensor.kind]
    return padded(-(-math.prod(tensor.dimensions) // block) * size)


def padded(size_bytes: int, to: int = _ALIGNMENT) -> int:
    """A size rounded up to a multiple."""
    return -(-size_bytes // to) * to
