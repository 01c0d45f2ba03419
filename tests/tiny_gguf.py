"""Writes small llama-architecture GGUF files with random weights: word salad, but a real model.

Needs nothing but the standard library. Format: GGUF version 3 (header, metadata, tensor infos, data
aligned to 32 bytes). Dimension 0 of every embedding is a constant that no layer writes to, so a
row's first weight in the output matrix acts as a bias on its token: control and byte tokens are
never sampled, and `ends` says how readily the end token is.
"""

import random
import struct
from dataclasses import dataclass
from pathlib import Path

WORDS = """the of and to in is it for on as with at this have from one had by word but not what all
were we when your can said there use an each which she do how their if will up other about out many
then them these so some her would make like him into time has look two more write go see number no
way could people my than first water been call who oil its now find long down day did get come made
may part load balance server model token stream queue request node cache proxy health
router""".split()  # noqa: SIM905

U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
ALIGNMENT = 32
CONSTANT = 6.0


@dataclass(frozen=True)
class Shape:
    """How large a model is; `pooling` 1 (mean) makes it an embedding model."""

    layers: int = 2
    width: int = 64
    hidden: int = 128
    heads: int = 4
    kv_heads: int = 2
    context: int = 8192
    pooling: int | None = None
    ends: float = 1.5  # bias of the end token: -60 never, 1.5 now and then


def vocabulary():
    """Tokens with their scores and types; every prefix of a word, so that merging reaches it."""
    tokens = [("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL)]
    tokens += [(f"<0x{b:02X}>", 0.0, BYTE) for b in range(256)]
    tokens += [("▁", -2000.0, NORMAL)]
    tokens += [(chr(c), -3000.0 - c, NORMAL) for c in range(33, 127)]
    seen = {t for t, _, _ in tokens}
    score = -1.0
    for word in WORDS:
        for end in range(1, len(word) + 1):
            piece = "▁" + word[:end]
            if piece not in seen:
                seen.add(piece)
                tokens.append((piece, score, NORMAL))
                score -= 1.0
    return tokens


def write(path: Path, shape: Shape, *, seed: int) -> None:
    """Write a model file; the same shape and seed give the same bytes."""
    tokens = vocabulary()
    write_file(path, shape, tokens, _tensors(shape, tokens, random.Random(seed)))


def write_file(path: Path, shape: Shape, tokens, tensors) -> None:
    """Write a model file of tokens (text, score, type) and tensors as `_tensors` has them."""
    tensors = list(tensors)
    metadata = _metadata(shape, tokens)
    out = bytearray(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata)))
    for key, value in metadata:
        out += _string(key) + value
    offset = 0
    for name, dims, kind, data in tensors:
        out += _string(name) + struct.pack("<I", len(dims))
        out += struct.pack(f"<{len(dims)}Q", *dims) + struct.pack("<IQ", kind, offset)
        offset += len(data) + -len(data) % ALIGNMENT
    out += bytes(-len(out) % ALIGNMENT)
    for _, _, _, data in tensors:
        out += data + bytes(-len(data) % ALIGNMENT)
    path.write_bytes(out)


def _metadata(shape, tokens):
    pairs = [
        ("general.architecture", _value(STRING, "llama")),
        ("general.name", _value(STRING, "tiny-random")),
        ("general.file_type", _value(U32, 1)),
        ("llama.context_length", _value(U32, shape.context)),
        ("llama.embedding_length", _value(U32, shape.width)),
        ("llama.block_count", _value(U32, shape.layers)),
        ("llama.feed_forward_length", _value(U32, shape.hidden)),
        ("llama.attention.head_count", _value(U32, shape.heads)),
        ("llama.attention.head_count_kv", _value(U32, shape.kv_heads)),
        ("llama.attention.layer_norm_rms_epsilon", _value(F32, 1e-5)),
        ("llama.rope.dimension_count", _value(U32, shape.width // shape.heads)),
        ("llama.rope.freq_base", _value(F32, 10000.0)),
        ("llama.vocab_size", _value(U32, len(tokens))),
        ("tokenizer.ggml.model", _value(STRING, "llama")),
        ("tokenizer.ggml.pre", _value(STRING, "default")),
        ("tokenizer.ggml.tokens", _array(STRING, [t for t, _, _ in tokens])),
        ("tokenizer.ggml.scores", _array(F32, [s for _, s, _ in tokens])),
        ("tokenizer.ggml.token_type", _array(I32, [k for _, _, k in tokens])),
        ("tokenizer.ggml.bos_token_id", _value(U32, 1)),
        ("tokenizer.ggml.eos_token_id", _value(U32, 2)),
        ("tokenizer.ggml.unknown_token_id", _value(U32, 0)),
        ("tokenizer.ggml.add_bos_token", _value(BOOL, True)),
        ("tokenizer.ggml.add_eos_token", _value(BOOL, False)),
    ]
    if shape.pooling is not None:
        pairs.append(("llama.pooling_type", _value(U32, shape.pooling)))
    return pairs


def _tensors(shape, tokens, rng):
    """Name, dimensions (fastest first), kind (0 = f32, 1 = f16) and bytes of each tensor."""
    width, count = shape.width, len(tokens)

    def matrix(rows, columns, scale=None, *, silent=False, first=None):
        scale = scale or columns**-0.5
        values = [rng.gauss(0.0, scale) for _ in range(rows * columns)]
        if silent:
            values[:columns] = [0.0] * columns
        if first is not None:
            values[::columns] = first
        return (columns, rows), 1, struct.pack(f"<{len(values)}e", *values)

    def ones():
        return (width,), 0, struct.pack(f"<{width}f", *[1.0] * width)

    yield "token_embd.weight", *matrix(count, width, 1.0, first=[CONSTANT] * count)
    for layer in range(shape.layers):
        head = width // shape.heads
        key_width = head * shape.kv_heads
        block = f"blk.{layer}."
        yield block + "attn_norm.weight", *ones()
        yield block + "ffn_norm.weight", *ones()
        yield block + "attn_q.weight", *matrix(width, width)
        yield block + "attn_k.weight", *matrix(key_width, width)
        yield block + "attn_v.weight", *matrix(key_width, width)
        yield block + "attn_output.weight", *matrix(width, width, silent=True)
        yield block + "ffn_gate.weight", *matrix(shape.hidden, width)
        yield block + "ffn_up.weight", *matrix(shape.hidden, width)
        yield block + "ffn_down.weight", *matrix(width, shape.hidden, silent=True)
    yield "output_norm.weight", *ones()
    reach = CONSTANT / ((width - 1 + CONSTANT**2) / width) ** 0.5  # the constant after the norm
    biases = [bias / reach for bias in _biases(tokens, shape.ends)]
    yield "output.weight", *matrix(count, width, 2.0 * width**-0.5, first=biases)


def _biases(tokens, ends):
    whole = {"▁" + word for word in WORDS}
    for number, (token, _, kind) in enumerate(tokens):
        if number == 2:
            yield ends
        elif kind in (UNKNOWN, CONTROL, BYTE):
            yield -60.0
        else:
            yield 0.0 if token in whole else -4.0


def _string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _plain(kind, value):
    if kind == STRING:
        return _string(value)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind], value)


def _value(kind, value):
    return struct.pack("<I", kind) + _plain(kind, value)


def _array(kind, values):
    head = struct.pack("<IIQ", ARRAY, kind, len(values))
    return head + b"".join(_plain(kind, v) for v in values)
