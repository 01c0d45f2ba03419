"""Reading YAML: what is kept, what is refused, and that its bounds hold for every bomb."""

import pytest
import yaml

from ollama_fleet.config import document
from ollama_fleet.config.document import MAX_BYTES, MAX_DEPTH, MAX_NODES, read_document
from ollama_fleet.config.problems import Mark


def _problems(data):
    return [(found.path, found.reason) for found in read_document(data).problems]


def _reason(data):
    """The one reason why nothing could be read."""
    found = read_document(data)
    assert found.value is None
    assert len(found.problems) == 1
    return found.problems[0].reason


def test_scalars_stay_as_they_are_written():
    """No text is taken for a switch, a number or a date; only the words for nothing are."""
    found = read_document(b"a: on\nb: 0o17\nc: 1:30\nd: 2020-01-01\ne: ~\nf:\ng: 'null'\nh: 1e3")
    assert found.problems == ()
    assert found.value == {
        "a": "on", "b": "0o17", "c": "1:30", "d": "2020-01-01",
        "e": None, "f": None, "g": "null", "h": "1e3",
    }  # fmt: skip


@pytest.mark.parametrize("data", [b"", b"\n\n", b"# nothing\n", b"---\n", b"---\n...\n", b"null"])
def test_an_empty_file_is_an_empty_section(data):
    found = read_document(data)
    assert (found.value, found.problems) == ({}, ())


def test_every_entry_is_found():
    """A section's entry is found by its key, a list's by itself, counted from 1."""
    places = read_document(b"\xef\xbb\xbfa:\n  - x\n  - b: yy\n").places
    assert (places[("a",)].key, places[("a",)].value) == (Mark(1, 1), Mark(2, 3))
    assert places[("a", 0)].key == Mark(2, 5)
    assert (places[("a", 1, "b")].key, places[("a", 1, "b")].value) == (Mark(3, 5), Mark(3, 8))


def test_aliases_are_copies():
    """Two uses of an anchor are equal, and a change to one is not a change to the other."""
    value = read_document(b"a: &x {k: [1]}\nb: *x\n").value
    assert value == {"a": {"k": ["1"]}, "b": {"k": ["1"]}}
    value["a"]["k"].append("2")
    assert value["b"] == {"k": ["1"]}


def test_an_anchor_may_be_given_again():
    assert read_document(b"[&x a, *x, &x b, *x]").value == ["a", "a", "b", "b"]


def test_a_key_that_stands_twice_is_named_with_its_first_line():
    found = read_document(b"a: 1\nb: 2\na: 3\n")
    assert found.value == {"a": "1", "b": "2"}
    assert [(p.path, p.mark, p.hint) for p in found.problems] == [
        (("a",), Mark(3, 1), "the first is in line 1")
    ]


@pytest.mark.parametrize("tag", [b"!!python/object/apply:os.system", b"!mine", b"!!int", b"!<x>"])
def test_tags_are_refused_and_reading_goes_on(tag):
    """Nothing is ever built from a tag; later mistakes are found all the same."""
    found = read_document(b"a: " + tag + b" 1\nb: 2\nb: 3\n")
    assert [problem.path for problem in found.problems] == [("a",), ("b",)]
    assert found.value == {"a": "1", "b": "2"}


def test_a_second_document_is_refused():
    assert _problems(b"a: 1\n---\nb: 2\n") == [((), "a second document begins")]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"a: \xff", "not UTF-8"),
        (b"\xfe\xff\0a", "not UTF-8"),
        (b"a: \0", "the character U+0000 is not allowed in YAML"),
        (b"a: \x1b[31m", "the character U+001B is not allowed in YAML"),
        (b"a:\n\tb: 1", "not YAML: found character that cannot start any token"),
        (b"[1, 2", "not YAML: did not find expected ',' or ']'"),
        (b"a: *nowhere", "the alias *nowhere stands for nothing above"),
        (b"a: &a [*a]", "the alias *a contains itself"),
        (b"&a a: &b {x: *b}", "the alias *b contains itself"),
        (b"[a]: 1", "a key must be plain text"),
        (b"? " * 100_000, "a key must be plain text"),
        (b"&a x: 1\n*a : 2", "a key must be plain text"),
        (b"x" * (MAX_BYTES + 1), "larger than 1 MiB"),
        (b"%TAG !a! b\n" * 9, "more than 8 lines begin with %"),
    ],
)
def test_what_cannot_be_read_says_why(data, reason):
    assert _reason(data) == reason


def test_a_tab_is_pointed_at():
    (problem,) = read_document(b"a: 1\n\tb: 1").problems
    assert (problem.hint, problem.mark) == ("indent with blanks", Mark(2, 1))


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 100_000,
        b"{a: " * 100_000,
        b"- " * 100_000,
        b"\n".join(b" " * depth + b"a:" for depth in range(1000)),
        b"&a [" * 50_000,
        b"a: &a " + b"[" * 20 + b"]" * 20 + b"\nb: " + b"[" * 20 + b"*a" + b"]" * 20,
    ],
)
def test_depth_is_bounded(data):
    """Nesting ends at the bound, whether it is written out or made of aliases."""
    assert _reason(data) == f"nested deeper than {MAX_DEPTH} levels"


def _doubling(levels):
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, levels)]
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    "data",
    [
        _doubling(25),
        b"a: &a [" + b"x," * 5_000 + b"]\nb: [*a, *a]",
        b"[" + b"," .join([b"x"] * (MAX_NODES + 1)) + b"]",
        b"\n".join(b"k%d: 1" % n for n in range(MAX_NODES)),
    ],
)  # fmt: skip
def test_the_number_of_values_is_bounded(data, monkeypatch):
    """A bomb ends at the bound, whatever it would grow to: no more is ever built."""
    built = []
    graft = document._graft

    def counted(places, step, branch, key=None):
        graft(places, step, branch, key)
        built.append(len(branch.places))

    monkeypatch.setattr(document, "_graft", counted)
    assert _reason(data) == f"more than {MAX_NODES} values"
    assert sum(built) <= MAX_NODES * MAX_DEPTH


def test_a_file_at_the_bound_is_read():
    """The bound is on what is more than a configuration ever needs, not before."""
    found = read_document(b"[" + b"x," * (MAX_NODES - 1) + b"]")
    assert found.problems == ()
    assert len(found.value) == MAX_NODES - 1


@pytest.mark.parametrize("data", [b"a: {b: [1, *x]}", b"a:\n\tb", _doubling(25), b"a: &a [*a]"])
def test_without_libyaml_the_same_is_refused(data, monkeypatch):
    """PyYAML's own reader is bounded in the same way."""
    refused = read_document(data).problems
    monkeypatch.setattr(document, "EventReader", yaml.SafeLoader)
    assert [p.path for p in read_document(data).problems] == [p.path for p in refused]


def test_without_libyaml_the_same_is_read(monkeypatch):
    data = b"a: &x {b: [1, 'two', \"three\"]}\nc: *x\n"
    expected = read_document(data)
    monkeypatch.setattr(document, "EventReader", yaml.SafeLoader)
    assert read_document(data) == expected
