"""Rules between the parts of a configuration, checked on what was written.

They look at plain values and pass over what is not of the right kind, so that a mistake elsewhere
does not hide these.
"""

from collections.abc import Iterator, Mapping

from ollama_fleet.config.address import Address
from ollama_fleet.config.paths import KeyPath, show_path
from ollama_fleet.config.problems import Problem, did_you_mean
from ollama_fleet.config.scalars import read_url, show_value
from ollama_fleet.names import canonical

_TRUE = ("true", "yes", "on", "y", "t", "1")
_FALSE = ("false", "no", "off", "n", "f", "0")


def conflicts(tree: object) -> Iterator[Problem]:
    """Yield all contradictions between keys of a configuration as it stands in a file."""
    if not isinstance(tree, Mapping):
        return
    yield from _open_metrics(tree)
    yield from _needed_and_not(tree)
    yield from _half_a_pair(tree)
    yield from _useless_probe(tree)
    yield from _repeated_names(tree)
    yield from _repeated_servers(tree)
    yield from _shared_gpus(tree)
    yield from _second_auto(tree)
    yield from _repeated_models(tree)
    yield from _unknown_groups(tree)


def _open_metrics(tree: Mapping[str, object]) -> Iterator[Problem]:
    text = _mapping(tree.get("metrics")).get("listen")
    try:
        address = None if text is None else Address.parse(str(text))
    except ValueError:
        return
    if address is None or address.is_loopback or _is_true(tree, "insecure_no_auth"):
        return
    if not _is_true(_mapping(tree.get("auth")), "required") and not _is_open(tree):
        yield Problem(
            ("metrics", "listen"),
            f"{address} can be reached by others, and nobody is asked for a key",
            "listen on 127.0.0.1, set auth.required: true, or insecure_no_auth: true to let every "
            "caller in",
        )


def _is_open(tree: Mapping[str, object]) -> bool:
    """Whether others can reach the router, so that keys are asked for unless something says no."""
    try:
        address = Address.parse(str(tree.get("listen", Address())))
    except ValueError:
        return False
    asked = _mapping(tree.get("auth")).get("required")
    return not address.is_loopback and (asked is None or _is_true({"": asked}, ""))


def _needed_and_not(tree: Mapping[str, object]) -> Iterator[Problem]:
    if _is_true(tree, "insecure_no_auth") and _is_true(_mapping(tree.get("auth")), "required"):
        reason = "lets every caller in, and auth.required lets none in without a key"
        yield Problem(("insecure_no_auth",), reason, "set one of them only")


def _is_true(tree: Mapping[str, object], key: str) -> bool:
    return str(tree.get(key, "")).strip().lower() in _TRUE


def _half_a_pair(tree: Mapping[str, object]) -> Iterator[Problem]:
    tls = _mapping(tree.get("tls"))
    there = [key for key in ("cert", "key") if tls.get(key) is not None]
    if len(there) == 1:
        missing = "key" if there == ["cert"] else "cert"
        hint = f"set tls.{missing}, or remove both"
        yield Problem(("tls", there[0]), f"is of no use without tls.{missing}", hint, on_key=True)


def _repeated_names(tree: Mapping[str, object]) -> Iterator[Problem]:
    parts = (*_groups(tree), *_instances(tree))
    named = [((*path, "name"), part.get("name")) for path, part in parts]
    yield from _repeated([(path, name) for path, name in named if isinstance(name, str)])


def _repeated_servers(tree: Mapping[str, object]) -> Iterator[Problem]:
    first: dict[str, KeyPath] = {}
    for path, part in _instances(tree):
        try:
            server = _server(str(part["url"]))
        except (KeyError, ValueError):
            continue
        before = first.setdefault(server, path)
        if before is not path:
            reason = f"is the server of {show_path(before)} already"
            hint = "one server is one instance; `slots` says how many requests it may have at once"
            yield Problem((*path, "url"), reason, hint)


def _server(url: str) -> str:
    """What two addresses of one server have in common. Raises ValueError for what is none."""
    scheme, _, place = read_url(url).partition("://")
    host, colon, port = place.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = place, {"http": "80", "https": "443"}[scheme]
    return f"{scheme}://{'127.0.0.1' if host == 'localhost' else host}:{port}"


def _useless_probe(tree: Mapping[str, object]) -> Iterator[Problem]:
    repair = _mapping(tree.get("repair"))
    asked = repair.get("inference_probe") is not None
    if asked and str(repair.get("hangs", True)).strip().lower() in _FALSE:
        yield Problem(
            ("repair", "inference_probe"),
            "finds instances that hang, and repair.hangs is false",
            "remove it, or set repair.hangs: true",
        )


def _shared_gpus(tree: Mapping[str, object]) -> Iterator[Problem]:
    gpus: list[tuple[KeyPath, str]] = [
        ((*path, "gpus", index), str(gpu).lower())
        for path, group in _groups(tree)
        for index, gpu in enumerate(_list(group.get("gpus")))
    ]
    yield from _repeated(gpus, "a GPU serves one group; raise count for more instances on it")


def _second_auto(tree: Mapping[str, object]) -> Iterator[Problem]:
    autos = [path for path, group in _groups(tree) if group.get("gpus", "auto") == "auto"]
    for path in autos[1:]:
        yield Problem(
            (*path, "gpus"),
            f"{show_path(autos[0])} takes all remaining GPUs already",
            "auto can stand in one group only; name the GPUs of the others",
        )


def _repeated_models(tree: Mapping[str, object]) -> Iterator[Problem]:
    first: dict[str, str] = {}
    for name in _mapping(tree.get("models")):
        before = first.setdefault(canonical(name), name)
        if before != name:
            reason = f"is the same model as {show_path(('models', before))}"
            yield Problem(("models", name), reason, on_key=True)


def _unknown_groups(tree: Mapping[str, object]) -> Iterator[Problem]:
    if "groups" in tree:
        known = [str(group["name"]) for _, group in _groups(tree) if "name" in group]
    else:
        known = ["gpu"]
    for model, entry in _mapping(tree.get("models")).items():
        for index, group in enumerate(_list(_mapping(entry).get("groups"))):
            if str(group) not in known:
                path = ("models", model, "groups", index)
                yield Problem(
                    path, f"there is no group {show_value(group)}", did_you_mean(group, known)
                )


def _repeated(found: list[tuple[KeyPath, str]], hint: str = "") -> Iterator[Problem]:
    first: dict[str, KeyPath] = {}
    for path, value in found:
        before = first.setdefault(value, path)
        if before is not path:
            yield Problem(path, f"{show_value(value)} stands in {show_path(before)} already", hint)


def _groups(tree: Mapping[str, object]) -> list[tuple[KeyPath, Mapping[str, object]]]:
    return _sections(tree, "groups")


def _instances(tree: Mapping[str, object]) -> list[tuple[KeyPath, Mapping[str, object]]]:
    return _sections(tree, "instances")


def _sections(tree: Mapping[str, object], key: str) -> list[tuple[KeyPath, Mapping[str, object]]]:
    numbered = enumerate(_list(tree.get(key)))
    return [((key, index), part) for index, part in numbered if isinstance(part, Mapping)]


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
