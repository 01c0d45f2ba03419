"""Model references as Ollama's handlers take them: some know source suffixes, some do not."""

from dataclasses import replace

from ollama_fleet.names import ModelName, Source
from ollama_fleet.sim.ollama.api.service import ApiError, Service
from ollama_fleet.sim.ollama.golang.json import quoted

DETAILS = "remote model details are unavailable"


def resolve(
    service: Service, text: str, without_cloud: str = "remote model is unavailable"
) -> ModelName:
    """The name of a model to be used here.

    Raises ApiError: 404 for no name, 400 for what cannot be one, and for a model at ollama.com the
    status of not getting there.
    """
    if not text:
        raise ApiError(404, "model '' not found")
    _refuse_contradiction(text)
    try:
        name = ModelName.parse(text)
    except ValueError:
        raise ApiError(400, "invalid model name") from None
    if name.source is Source.CLOUD:
        raise unreachable(service, without_cloud)
    return name


def unreachable(service: Service, without_cloud: str) -> ApiError:
    """What happens to a request for ollama.com: it is forbidden, or there is no network."""
    if not service.settings.cloud:
        return ApiError(403, f"ollama cloud is disabled: {without_cloud}", native=True)
    return ApiError(502, "dial tcp: lookup ollama.com: no such host", native=True)


def stored_name(text: str) -> ModelName:
    """A name where a source suffix is nothing but a tag. Raises ValueError."""
    name = ModelName.parse(text)
    if name.source is Source.ANY:
        return name
    head, _, tag = text.strip().rpartition(":")
    if ":" in head.rpartition("/")[2]:
        raise ValueError(text)
    return replace(name, tag=tag.lower(), source=Source.ANY)


def pulled_name(text: str) -> ModelName:
    """A name as pull and delete take it: a cloud model's is that of its stub.

    Raises ApiError 400 for a contradiction, ValueError for what is no name.
    """
    _refuse_contradiction(text)
    return replace(ModelName.parse(text), source=Source.ANY)


def _refuse_contradiction(text: str) -> None:
    base, _, suffix = text.strip().rpartition(":")
    if suffix.lower() not in {"local", "cloud"}:
        return
    try:
        twice = ModelName.parse(base).source is not Source.ANY
    except ValueError:
        return
    if twice:
        raise ApiError(400, f"use either :local or :cloud, not both: {quoted(text)}")
