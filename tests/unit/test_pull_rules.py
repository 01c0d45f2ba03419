"""From where models may be pulled."""

import pytest

from ollama_fleet.control.library import allowed
from ollama_fleet.errors import OllamaError
from ollama_fleet.names import ModelName

DEFAULT = ("registry.ollama.ai", "hf.co")


def judged(name, *, registries=DEFAULT, insecure=False, without_tls=False):
    return allowed(registries, insecure=insecure)(ModelName.parse(name), without_tls)


@pytest.mark.parametrize("name", ["llama3.2", "you/it:1b", "hf.co/you/it", "HF.co/you/it"])
def test_the_usual_registries_are_allowed(name):
    judged(name)


@pytest.mark.parametrize(
    "name",
    [
        "evil.example/x/y",
        "127.0.0.1:5000/x/y",
        "hf.co.evil.example/x/y",
        "https://evil.example/x/y",
        "ftp://evil.example/x/y",
        "http\u017f://evil.example/x/y",
        "://evil.example/x/y",
        "hf.co/x://evil.example/x/y",
        "\u2028evil.example/x/y",
    ],
)
def test_any_other_host_is_refused_with_the_key_that_allows_it(name):
    with pytest.raises(OllamaError, match=r"pulls\.registries") as error:
        judged(name)
    assert error.value.status == 403


def test_a_host_is_allowed_with_its_port_only():
    judged("box:5000/x/y", registries=("box:5000",))
    with pytest.raises(OllamaError, match="box:5001"):
        judged("box:5001/x/y", registries=("box:5000",))


def test_a_star_allows_any_host():
    judged("evil.example/x/y", registries=("*",))


@pytest.mark.parametrize(
    ("name", "without_tls"),
    [("http://hf.co/x/y", False), ("http+insecure://hf.co/x/y", False), ("hf.co/x/y", True)],
)
def test_without_tls_only_what_is_allowed_so(name, without_tls):
    with pytest.raises(OllamaError, match=r"pulls\.insecure"):
        judged(name, without_tls=without_tls)
    judged(name, without_tls=without_tls, insecure=True)
