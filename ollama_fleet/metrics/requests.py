"""What a request adds to the counters. Called by the loop for each: microseconds count."""

from typing import Final

from ollama_fleet.history import Ending, RequestRecord
from ollama_fleet.metrics.families import Families
from ollama_fleet.metrics.labels import ModelLabels, RouteLabels, as_cause
from ollama_fleet.metrics.reasons import RETRIED, reason

_WHOLE: Final = frozenset((Ending.COMPLETED, Ending.INCOMPLETE))


class RequestCounts:
    """Adds requests to the families, under labels that are bounded."""

    def __init__(self, families: Families, models: ModelLabels, routes: RouteLabels) -> None:
        self._families = families
        self._models = models
        self._routes = routes

    def answered(self, route: str, status: int) -> None:
        """Count an answer that is our own."""
        self._families.responses.of[self._routes.label(route), str(status)].value += 1

    def observe(self, record: RequestRecord) -> None:
        """Count a request that was routed and has ended."""
        families, outcome = self._families, str(record.ending)
        route, model = self._routes.label(record.route), self._models.label(record.key)
        families.requests.of[route, model, outcome].value += 1
        families.request_bytes.of[route,].value += record.request_bytes
        families.response_bytes.of[route,].value += record.answer_bytes
        theirs = came_from_instance(record)
        if theirs:
            families.responses.of[route, str(record.status)].value += 1
        if record.instance:
            families.attempts.of[record.instance, outcome].value += 1
            families.decisions.of[record.strategy, reason(record)].value += 1
            if record.attempts > 1:
                families.decisions.of[record.strategy, RETRIED].value += record.attempts - 1
        if record.failures:
            self._add_failures(record)
        if record.inference:
            self._add_times(record, model)
            if theirs and record.status < 400:
                self._add_answer(record, model)

    def _add_failures(self, record: RequestRecord) -> None:
        """Count the attempts before the last."""
        for instance, failure in zip(record.tried, record.failures, strict=False):
            cause = as_cause(failure)
            self._families.attempts.of[instance, cause].value += 1
            self._families.retries.of[cause,].value += 1

    def _add_times(self, record: RequestRecord, model: str) -> None:
        """Count how long the parts of one took, as far as it had them."""
        families, load_s = self._families, record.load_s + record.reported_load_s
        families.queue.of[model,].observe(record.queue_s)
        if load_s:
            families.load.of[model,].observe(load_s)
        if record.reported_prefill_s:
            families.prefill.of[model,].observe(record.reported_prefill_s)
        if record.reported_decode_s:
            families.decode.of[model,].observe(record.reported_decode_s)

    def _add_answer(self, record: RequestRecord, model: str) -> None:
        """Count the tokens of an instance's answer, and how soon they came."""
        families = self._families
        families.prompt_tokens.of[record.instance, model].value += record.prompt_tokens
        families.generation_tokens.of[record.instance, model].value += record.output_tokens
        if record.stream and record.first_byte_s:
            families.first_token.of[model,].observe(record.first_byte_s)
        if record.ending in _WHOLE:
            families.whole.of[model,].observe(record.total_s)
            per_token_s = seconds_per_token(record)
            if per_token_s:
                families.per_token.of[model,].observe(per_token_s)


def came_from_instance(record: RequestRecord) -> bool:
    """Whether the client was given an instance's answer, not our own to a failure, nor nothing."""
    refused_by_us = record.ending is Ending.REFUSED and record.error
    return bool(record.status and not refused_by_us)


def seconds_per_token(record: RequestRecord) -> float:
    """Mean seconds between an answer's tokens, by the instance or by our clock; 0 if unknown."""
    if record.reported_decode_s and record.output_tokens:
        return record.reported_decode_s / record.output_tokens
    if record.stream and record.output_tokens > 1:
        return (record.total_s - record.first_byte_s) / (record.output_tokens - 1)
    return 0.0
