"""The scanner of large bodies against a reference that decodes them whole, and against itself."""

import gc
import json
import random
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ollama_fleet.router.intake import FormScanner, Scanner, read_at_once, read_body
from ollama_fleet.router.intake.fields import TYPES, profile
from ollama_fleet.units import parse_duration

STRINGS = ("model", "name", "prompt", "from", "source", "destination")
WORK = ("prompt", "messages", "input")


# -- what Go does, on a body decoded whole ---------------------------------------------------------


class Pairs(list):
    pass


def go_fold(key):
    ascii_of = {"\u017f": "s", "\u212a": "k"}  # the only orbits that leave ASCII
    return "".join(c.lower() if c.isascii() else ascii_of.get(c, c) for c in key)


def reference(body):
    """(model, streamed, unload, profile, source, destination) as encoding/json would assign."""
    text = body.decode(errors="replace").lstrip(" \t\r\n")
    try:
        pairs, _ = json.JSONDecoder(object_pairs_hook=Pairs).raw_decode(text)
    except ValueError:
        pairs = None
    found = {}
    for key, value in pairs if isinstance(pairs, Pairs) else ():
        assign(found, go_fold(unicode(key)), value)
    empty = not any(found.get(name) for name in WORK)
    return (
        found.get("model") or found.get("name") or "",
        found.get("stream", "by default"),
        empty and "keep_alive" in found and is_zero(found["keep_alive"]),
        profile(found.get("options", {})),
        found.get("from") or found.get("source") or "",
        found.get("destination") or "",
    )


def assign(found, name, value):
    if value is None:
        if name not in STRINGS:
            found.pop(name, None)
    elif name in WORK:
        found[name] = value not in ("", [])
    elif name in STRINGS:
        if isinstance(value, str):
            found[name] = unicode(value)
    elif name == "stream":
        if isinstance(value, bool):
            found[name] = value
    elif name == "options":
        if isinstance(value, Pairs):
            found[name] = found.get(name, {}) | dict(value)
    elif name == "keep_alive" and isinstance(value, int | float | str) and value is not bool(value):
        found[name] = value


def unicode(text):
    return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)


def is_zero(keep_alive):
    try:
        return parse_duration(keep_alive) == 0
    except ValueError:
        return False


# -- documents -------------------------------------------------------------------------------------

blanks = st.sampled_from(["", "", "", " ", "\n", "\t ", "\r\n"])


@st.composite
def spelt(draw, name):
    """A key in some case, with letters escaped or replaced by those that fold to them."""
    letters = []
    for letter in name:
        ways = [letter, letter, letter, letter.upper(), f"\\u{ord(letter):04x}"]
        ways += {"s": ["\u017f", "\\u017F"], "k": ["\u212a"]}.get(letter, [])
        letters.append(draw(st.sampled_from(ways)))
    return '"' + "".join(letters) + '"'


def text_of(strings, *, ascii_only):
    return strings.map(lambda text: json.dumps(text, ensure_ascii=ascii_only))


awkward = st.sampled_from(
    ['"', "\\", '\\"', "{", "]", "\u017f", "a\\", "", "0s", "\ud83d\ude00", "n"]
)
strings = st.one_of(
    text_of(st.text(max_size=6), ascii_only=True),
    text_of(st.text(max_size=6), ascii_only=False),
    text_of(st.lists(awkward, max_size=4).map("".join), ascii_only=True),
    st.sampled_from([r'"\ud800"', r'"a\udc00b"', r'"\/"', '""', '"m"']),
)
numbers = st.sampled_from(
    ["0", "-1", "5", "4096", "1.5", "1e3", "-0", "1E-9", "99999999999999999999"]
)
scalars = st.one_of(strings, numbers, st.sampled_from(["null", "true", "false", "[]", "{}", "[ ]"]))


def nested(inner):
    pairs = st.tuples(strings, inner).map(": ".join)
    return st.one_of(
        st.lists(inner, max_size=4).map(lambda items: "[" + ", ".join(items) + "]"),
        st.lists(pairs, max_size=4).map(lambda items: "{" + ",".join(items) + "}"),
    )


values = st.recursive(scalars, nested, max_leaves=12)
runner_options = st.lists(
    st.tuples(
        st.sampled_from(['"num_ctx"', '"num_gpu"', '"use_mmap"', '"NUM_CTX"', '"seed"']), scalars
    ).map(":".join),
    max_size=3,
).map(lambda items: "{" + ",".join(items) + "}")


@st.composite
def documents(draw):
    """An object's text, as bytes."""
    name = st.one_of(st.sampled_from(sorted(TYPES)), st.just("options"), st.just("model"))
    key = st.one_of(name.flatmap(spelt), strings)
    members = draw(st.lists(st.tuples(key, st.one_of(values, runner_options)), max_size=8))
    gap = st.tuples(blanks, blanks, blanks, blanks)
    texts = []
    for member, value in members:
        a, b, c, d = draw(gap)
        texts.append(f"{a}{member}{b}:{c}{value}{d}")
    text = draw(blanks) + "{" + ",".join(texts) + draw(blanks) + "}" + draw(blanks)
    body = text.encode() + draw(st.sampled_from([b"", b"", b"x", b'{"model":"behind"}']))
    broken = draw(st.booleans()) and b"\xc3" in body
    return body.replace(b"\xc3", b"\xff") if broken else body


def fed(body, cuts=(), size=None):
    scanner = Scanner()
    cuts = sorted(cuts) if size is None else range(0, len(body), size)
    for start, stop in zip([0, *cuts], [*cuts, len(body)], strict=True):
        piece = body[start:stop]
        while not scanner.feed(piece):
            piece = b""
    return scanner.fields()


def told(fields):
    wanted = [fields.wanted(stream_default=default) for default in (True, False)]
    streams = wanted[0].stream if wanted[0].stream == wanted[1].stream else "by default"
    one = wanted[0]
    return one.model, streams, one.unload, one.profile, one.source, one.destination


# -- laws ------------------------------------------------------------------------------------------


@given(documents(), st.data())
@example(b'{"options":{"num_ctx":1},"opt\\u0069ons":{"num_gpu":2}}', None)
@example('{"me\u017fsage\u017f":[0],"\u212aeep_alive":0}'.encode(), None)
@example('{"meßages":[0],"keep_alive":0}'.encode(), None)
@example(b'{"model":"a","model":null,"stream":false,"stream":null}', None)
def test_any_object_in_any_pieces_is_read_as_go_reads_it_whole(body, data):
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=6)) if data else [3, 20]
    assert told(fed(body, cuts)) == reference(body)


@settings(max_examples=40)
@given(documents())
def test_a_body_byte_by_byte_is_read_as_in_one_piece(body):
    assert told(fed(body, range(len(body)))) == told(fed(body))


@settings(max_examples=40)
@given(documents())
def test_a_small_body_read_at_once_is_read_as_by_the_scanner(body):
    at_once = read_at_once(body)
    assert at_once is None or told(at_once) == told(fed(body))


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=4))
def test_no_bytes_raise_and_no_unfinished_object_is_read(body, cuts):
    fed(body, [min(cut, len(body)) for cut in cuts]).wanted(stream_default=True)


@settings(max_examples=40)
@given(documents(), st.data())
def test_an_object_cut_short_gives_nothing(body, data):
    closing = json.JSONDecoder().raw_decode(body.decode(errors="replace").lstrip(" \t\r\n"))
    assert closing, "the strategy makes whole objects"
    open_brace = body.index(b"{")
    whole = next(n for n in range(open_brace + 2, len(body) + 1) if ends(body[:n]))
    cut = data.draw(st.integers(0, whole - 1))
    assert told(fed(body[:cut])) == ("", "by default", False, (), "", "")


def ends(text):
    try:
        json.loads(text.decode(errors="replace"))
    except ValueError:
        return False
    return True


# -- extremes --------------------------------------------------------------------------------------

MEMBER = b'"model":"m"'
LARGE = {
    "an image": b'"messages":[{"images":["' + b"QUJD" * 50_000 + b'"]}],',
    "empty strings": b'"a":[' + b'"",' * 60_000 + b'""],',
    "deep nesting": b'"":[' + (b"[" * 9_000 + b"]" * 9_000 + b",") * 10 + b"0],",
    "escaped quotes": b'"a":"' + b'\\"' * 90_000 + b'",',
    "backslashes": b'"a":"' + b"\\\\" * 90_000 + b'",',
    "a long key": b'"' + b"k" * 200_000 + b'":0,',
    "a long key with quotes": b'"' + b'k\\"' * 60_000 + b'":0,',
    "blanks": b" " * 200_000,
    "a long number": b'"a":' + b"1" * 200_000 + b",",
    "members": b'"":0,' * 30_000,
    "wanted members": b'"from":"x",' * 15_000,
    "escaped members": b'"\\u0061":0,' * 15_000,
    "options": b'"options":{},' * 12_000,
    "nested members": b'"":[[0,[]],{"a":{}}],' * 8_000,
    "nested values": b'"a":[' + b'[0,[1,[2,{"b":[]}],"]"],3],' * 7_000 + b"0],",
}


@pytest.mark.parametrize("size", [5_000, 65_536, 10**6])
@pytest.mark.parametrize("filler", LARGE.values(), ids=LARGE)
def test_what_stands_before_a_member_hides_it_in_no_case(filler, size):
    before = fed(b"{" + filler + MEMBER + b"}", size=size).wanted(stream_default=True)
    behind = fed(b"{" + MEMBER + b"," + filler + b'"z":0}', size=size).wanted(stream_default=True)
    assert before.model == behind.model == "m"


@pytest.mark.parametrize("filler", LARGE.values(), ids=LARGE)
def test_no_call_holds_the_loop_for_long_whatever_it_is_fed(filler):
    """The limit is ten times what the slowest of these takes; what else runs here is left out.

    So is what other tests have left to the garbage collector, which may look through it in a call.
    """
    gc.collect()
    gc.disable()
    try:
        assert any(slowest_call_s(b"{" + filler + MEMBER + b"}") < 0.025 for _ in range(5))
    finally:
        gc.enable()


def slowest_call_s(body):
    scanner, slowest_s = Scanner(), 0.0
    for at in range(0, len(body), 65_536):
        piece, through = body[at : at + 65_536], False
        while not through:
            began_s = time.thread_time()
            through = scanner.feed(piece)
            slowest_s = max(slowest_s, time.thread_time() - began_s)
            piece = b""
    return slowest_s


def test_go_reads_no_deeper_than_ten_thousand_levels():
    for levels, model in ((9_999, "m"), (10_000, "")):
        body = b'{"a":' + b"[" * levels + b"]" * levels + b',"model":"m"}'
        for size in (700, 65_536):
            assert fed(body, size=size).wanted(stream_default=True).model == model


@pytest.mark.parametrize("size", [1_000, 65_536, 10**6])
def test_a_value_too_long_to_be_kept_is_work_but_no_name(size):
    long = b'"' + b"x" * 70_000 + b'"'
    body = b'{"model":%b,"prompt":%b,"keep_alive":0}' % (long, long)
    scanned = fed(body, size=size).wanted(stream_default=True)
    for wanted in (scanned, read_body(body, stream_default=True)):
        assert (wanted.model, wanted.empty, wanted.unload) == ("", False, False)


# -- forms -----------------------------------------------------------------------------------------


def form(*parts, boundary="xyz", line="\r\n", preamble=""):
    """A multipart body of (disposition, content) pairs."""
    text = preamble.encode()
    for disposition, content in parts:
        head = f"--{boundary}{line}Content-Disposition: {disposition}{line}{line}"
        text += head.encode() + content + line.encode()
    return text + f"--{boundary}--{line}".encode()


FILE = ('form-data; name="file"; filename="model"', b"RIFF\r\n--xy\r\n--xyzz\r\n\r\n\x00\xff" * 9)
NAMED = ('form-data; name="model"', b"whisper:base")


def read_form(body, cuts=(), content_type="multipart/form-data; boundary=xyz"):
    scanner = FormScanner(content_type)
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), len(body)], strict=True):
        scanner.feed(body[start:stop])
    return scanner.fields().wanted(stream_default=False)


@given(st.data(), st.permutations([FILE, NAMED, ('form-data; name="language"', b"en")]))
def test_a_form_in_any_pieces_names_its_model_wherever_the_field_stands(data, parts):
    body = form(*parts, preamble=data.draw(st.sampled_from(["", "not yet\r\n"])))
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=8))
    wanted = read_form(body, cuts)
    assert (wanted.model, wanted.stream, wanted.empty) == ("whisper:base", False, False)


def test_a_form_byte_by_byte_is_read_as_whole():
    body = form(FILE, NAMED)
    assert read_form(body, range(len(body))).model == "whisper:base"


@pytest.mark.parametrize(
    ("parts", "model"),
    [
        ([NAMED, ('form-data; name="model"', b"second")], "whisper:base"),
        ([('form-data; name="model"; filename="f"', b"file"), NAMED], "whisper:base"),
        ([('form-data; name="model"; filename=""', b"m")], "m"),
        ([("form-data; name=model", b"m")], "m"),
        ([('Form-Data; filename*=x; NAME="model"', b"m")], "m"),
        ([('form-data;\r\n name="model"', b"m")], "m"),
        ([('attachment; name="model"', b"m")], ""),
        ([('form-data; name="models"', b"m")], ""),
        ([('form-data; name="model"', b"")], ""),
        ([('form-data; name="model"', b"a\r\nb")], "a\r\nb"),
        ([('form-data; name="model"', b"x" * 9_000)], ""),
        ([FILE], ""),
        ([], ""),
    ],
)
def test_the_first_field_of_the_name_counts_and_a_file_never(parts, model):
    assert read_form(form(*parts)).model == model


def test_a_boundary_may_be_quoted_and_lines_may_end_in_lf():
    quoted = 'Multipart/Form-Data; charset=utf-8; boundary="a b:c"'
    assert read_form(form(NAMED, boundary="a b:c"), content_type=quoted).model == "whisper:base"
    assert read_form(form(FILE, NAMED, line="\n")).model == "whisper:base"


@pytest.mark.parametrize(
    "content_type",
    ["", "application/json", "multipart/form-data", "multipart/mixed; boundary=xyz", "\udcff; x"],
)
def test_what_is_no_form_has_no_model(content_type):
    assert read_form(form(NAMED), content_type=content_type).model == ""


def test_a_form_that_ollama_refuses_has_no_model():
    other = ('form-data; name="x"', b"")
    assert read_form(form(*[other] * 999, NAMED)).model == "whisper:base"
    assert read_form(form(*[other] * 1_000, NAMED)).model == ""
    assert read_form(form(NAMED)[:40]).model == ""
    long_head = (f'form-data; x="{"y" * 20_000}"; name="model"', b"m")
    assert read_form(form(long_head), cuts=range(0, 20_000, 1_000)).model == ""


@given(st.binary(max_size=400), st.integers(0, 400))
def test_no_bytes_raise_in_a_form(noise, cut):
    body = form(FILE)[:cut] + noise
    read_form(body, [min(cut, len(body))])


def test_random_noise_between_wanted_members_changes_nothing():
    rng = random.Random(4)
    for _ in range(200):
        noise = rng.randbytes(rng.randrange(3_000)).hex()
        body = json.dumps({"a": noise, "model": "m", "b": [noise, {noise: noise}], "stream": True})
        size = rng.randrange(1, 900)
        assert told(fed(body.encode(), size=size))[:2] == ("m", True)
