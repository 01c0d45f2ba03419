"""Options profiles: what a request asks of a model's runner, once everything is taken together."""

from collections.abc import Mapping
from typing import Final

from ollama_fleet.state.records import Profile

RUNNER_OPTIONS: Final = frozenset({
    "draft_num_predict", "main_gpu", "num_batch", "num_ctx", "num_gpu", "num_thread", "use_mmap",
})  # fmt: skip
CONTEXT: Final = "num_ctx"
_LAYERS: Final = "num_gpu"


def effective(own: Profile, asked: Profile, default_context: int) -> Profile:
    """The profile of a runner: the Modelfile's options, a request's over them, defaults left out.

    `default_context` is the instance's context length in tokens, 0 if that is not known.
    """
    if not own and not asked:
        return ()
    options = {**dict(own), **dict(asked)}
    layers = options.get(_LAYERS)
    if isinstance(layers, int | float) and layers < 0:  # "as many as fit", which is the default
        del options[_LAYERS]
    if default_context and options.get(CONTEXT) == default_context:
        del options[CONTEXT]
    return tuple(sorted(options.items()))


def guessed(own: Profile, context_length: int, default_context: int, trained: int) -> Profile:
    """The profile of a runner that somebody else has started, as far as its context length tells.

    Ollama never gives a model a longer context than it was trained for (`trained` tokens, 0 if
    that is not known): a shorter one than the default says nothing then.
    """
    asked = dict(own).get(CONTEXT) or default_context
    expected = min(int(asked), trained) if trained else int(asked)
    said_nothing = not context_length or not default_context
    if said_nothing or context_length == expected or (not trained and context_length < expected):
        return effective(own, (), default_context)
    return effective(own, ((CONTEXT, context_length),), default_context)


def default_context(environment: Mapping[str, str]) -> int:
    """Tokens of context that an instance gives where nothing is asked; 0 if that is not known."""
    text = environment.get("OLLAMA_CONTEXT_LENGTH", "").strip()
    return int(text) if text.isdecimal() else 0
