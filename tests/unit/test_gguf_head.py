import struct
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.vram.gguf import MOST_HEAD_BYTES, Head, HeadReader, Tensor

U8, I32, U32, F32, STRING, ARRAY, U64 = 0, 5, 4, 6, 8, 9, 10


def text(value, order="<", size="Q"):
    data = value.encode()
    return struct.pack(order + size, len(data)) + data


def pair(key, kind, data, order="<", size="Q"):
    return text(key, order, size) + struct.pack(order + "I", kind) + data


def words(values, order="<", size="Q"):
    head = struct.pack(f"{order}I{size}", STRING, len(values))
    return head + b"".join(text(value, order, size) for value in values)


def whole(pairs=(), tensors=(), *, version=3, order="<", magic=b"GGUF"):
    """A head of these pairs, in bytes already, and tensors: name, dimensions, kind, offset."""
    size = "I" if version == 1 else "Q"
    out = magic + struct.pack(f"{order}I{size}{size}", version, len(tensors), len(pairs))
    out += b"".join(pairs)
    for name, dimensions, kind, offset in tensors:
        out += text(name, order, size) + struct.pack(order + "I", len(dimensions))
        out += struct.pack(f"{order}{len(dimensions)}{size}", *dimensions)
        out += struct.pack(order + "IQ", kind, offset)
    return out


def read(data, piece=None):
    """The head of these bytes, given in pieces of that length."""
    reader = HeadReader()
    for at in range(0, len(data), piece or len(data) or 1):
        head = reader.feed(data[at : at + (piece or len(data))])
        if head is not None:
            return head
    return None


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize(("order", "magic"), [("<", b"GGUF"), (">", b"GGUF"), (">", b"FUGG")])
def test_all_versions_and_both_byte_orders_are_read(version, order, magic):
    size = "I" if version == 1 else "Q"
    pairs = [
        pair("general.architecture", STRING, text("llama", order, size), order, size),
        pair("llama.block_count", U32, struct.pack(order + "I", 7), order, size),
        pair("tokenizer.ggml.tokens", ARRAY, words(["a", "bc"], order, size), order, size),
    ]
    tensors = [("blk.0.attn_q.weight", (256, 64), 12, 0)]
    head = read(whole(pairs, tensors, version=version, order=order, magic=magic))
    assert head == Head(
        version,
        {"general.architecture": "llama", "llama.block_count": 7},
        {"tokenizer.ggml.tokens": 2},
        (Tensor("blk.0.attn_q.weight", (256, 64), 12, 0),),
    )


@settings(max_examples=25)
@given(
    tokens=st.lists(st.text(max_size=80), max_size=40),
    numbers=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=9),
    piece=st.integers(7, 50_000),
)
def test_a_head_is_the_same_in_whatever_pieces_it_comes(tokens, numbers, piece):
    array = struct.pack(f"<IQ{len(numbers)}i", I32, len(numbers), *numbers)
    tokens *= 60  # more than are passed over at once
    data = whole(
        [
            pair("tokenizer.ggml.tokens", ARRAY, words(tokens)),
            pair("x.per_layer", ARRAY, array),
            pair("x.after", F32, struct.pack("<f", 0.5)),
        ],
        [("t", (3,), 0, 96)],
    )
    head = read(data, piece)
    assert head == read(data)
    assert head.counts == {"tokenizer.ggml.tokens": len(tokens), "x.per_layer": len(numbers)}
    assert head.metadata == {"x.per_layer": tuple(numbers), "x.after": 0.5}
    assert head.tensors == (Tensor("t", (3,), 0, 96),)


@settings(max_examples=25)
@given(st.binary(max_size=400))
def test_no_bytes_bring_anything_but_a_head_a_wish_for_more_or_a_value_error(data):
    for start in (b"", b"GGUF", b"GGUF" + struct.pack("<I", 3)):
        with suppress(ValueError):
            assert isinstance(read(start + data), Head | None)


@settings(max_examples=25)
@given(st.data())
def test_a_head_that_is_cut_off_anywhere_is_not_complete(data):
    full = whole([pair("tokenizer.ggml.tokens", ARRAY, words(["ab"] * 40))], [("t", (4, 4), 1, 0)])
    assert read(full) is not None
    assert read(full[: data.draw(st.integers(0, len(full) - 1))]) is None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"PK\x03\x04" + bytes(60), "no GGUF file"),
        (b"GGUF" + struct.pack("<I", 4) + bytes(60), "version is 4"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**40, 0), "tensors"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**40), "metadata pairs"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2**63), "bytes of text"),
        (whole([pair("a", ARRAY, struct.pack("<IQ", U8, 2**62))]), "items in an array"),
        (whole([pair("a", ARRAY, struct.pack("<IQ", ARRAY, 1))]), "unknown type 9"),
        (whole([pair("a", 77, b"")]), "unknown type 77"),
        (
            whole([pair("a", ARRAY, struct.pack("<IQQ", STRING, 5, 2**62))]),
            "bytes of text",
        ),
        (whole([], [("t", (2**40, 2**40), 0, 0)]), "elements"),
        (whole([], [("t", (1,) * 9, 0, 0)]), "dimensions of a tensor"),
    ],
)
def test_a_head_that_nobody_should_believe_is_refused_with_the_reason(data, reason):
    with pytest.raises(ValueError, match=reason):
        read(data + bytes(64))


def test_a_head_without_end_is_given_up():
    reader = HeadReader()
    piece = bytes(2**24)
    reader.feed(whole([pair("a", ARRAY, struct.pack("<IQ", U64, 2**26))]))
    for _ in range(MOST_HEAD_BYTES // len(piece) - 1):
        assert reader.feed(piece) is None
    with pytest.raises(ValueError, match="longer than"):
        reader.feed(piece)


def test_what_is_not_kept_is_not_in_memory():
    """A long array is passed over piece by piece; only what is not yet read is held."""
    reader = HeadReader()
    reader.feed(whole([pair("a", ARRAY, struct.pack("<IQ", U64, 2**20))]))
    for _ in range(2**23 // 2**16 - 1):
        assert reader.feed(bytes(2**16)) is None
        assert len(reader._bytes.buffer) <= 2**16
    assert reader.feed(bytes(2**16)).counts == {"a": 2**20}
