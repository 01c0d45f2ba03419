"""The metrics that the fleet counts itself, requests above all: names, help, labels, buckets.

Names follow Prometheus's rules (base units, `_total`, ratios from 0 to 1) and, after the prefix,
those that vLLM's dashboards know. Labels are bounded by labels.py. What is read from a snapshot
stands in readings.py.
"""

from typing import Final

from ollama_fleet.metrics.tallies import Counters, Histograms
from ollama_fleet.metrics.text import COUNTER, HISTOGRAM, Family

NAMESPACE: Final = "ollama_fleet"

# The loads of models stretch them all: from a millisecond to ten minutes.
_FIRST_TOKEN_S = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0),
)
_PER_TOKEN_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_WHOLE_S = tuple(0.01 * 2**n for n in range(17))
_PART_S = tuple(0.0025 * 4**n for n in range(10))
_LAG_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Families:
    """What is counted; `all` is every one of them, in the order of the page."""

    def __init__(self) -> None:
        self.all: list[Counters | Histograms] = []
        self.responses = self._counters(
            "http_responses_total", "Answers to clients.", "route", "status"
        )
        self.requests = self._counters(
            "requests_total", "Routed requests that ended.", "route", "model", "outcome"
        )
        self.attempts = self._counters(
            "attempts_total",
            "Tries at an instance: how the request ended there, or why it went elsewhere.",
            *("instance", "outcome"),
        )
        self.retries = self._counters("retries_total", "Tries after one that failed.", "cause")
        self.limits = self._counters(
            "limit_refusals_total",
            "Clients that were refused or cut off, by the key of the limit they ran into.",
            "limit",
        )
        self.over_budget = self._counters(
            "retries_over_budget_total",
            "Failures for which there was no other try, the budget being used up.",
            "cause",
        )
        self.decisions = self._counters(
            "decisions_total",
            "Places given to requests: the term of the score that spoke for the place.",
            *("strategy", "reason"),
        )
        self.prompt_tokens = self._counters(
            "prompt_tokens_total", "Tokens of prompts, as reported.", "instance", "model"
        )
        self.generation_tokens = self._counters(
            "generation_tokens_total", "Tokens of answers, as reported.", "instance", "model"
        )
        self.request_bytes = self._counters(
            "request_body_bytes_total", "Bodies of routed requests.", "route"
        )
        self.response_bytes = self._counters(
            "response_body_bytes_total", "Answers to routed requests.", "route"
        )
        self.events = self._counters("events_total", "What has happened.", "kind", "severity")
        self.ejections = self._counters(
            "instance_ejections_total",
            "Times that an instance failed requests, or probes, and was given none.",
            "instance",
        )
        self.repairs = self._counters(
            "repairs_total",
            "Steps that were taken to repair instances.",
            *("instance", "reason", "stage"),
        )
        self.pulls = self._counters("pulls_total", "Pulls of models that are over.", "outcome")
        self.pulled = self._counters(
            "pulled_bytes_total", "Bytes that completed pulls have brought, over all stores."
        )
        self.denied = self._counters(
            "requests_denied_total",
            "Requests that were not served because of who asked, by what the caller lacked.",
            "lack",
        )
        self.caller_requests = self._counters(
            "caller_requests_total",
            "Routed requests that ended, by the owner of the key.",
            "caller",
        )
        self.caller_tokens = self._counters(
            "caller_tokens_total",
            "Tokens of prompts and of answers, as reported, by the owner of the key.",
            *("caller", "kind"),
        )
        self._add_times()

    def _add_times(self) -> None:
        self.first_token = self._histograms(
            "time_to_first_token_seconds",
            "From arrival to the first byte of a streamed answer.",
            _FIRST_TOKEN_S,
        )
        self.per_token = self._histograms(
            "time_per_output_token_seconds", "Mean time between an answer's tokens.", _PER_TOKEN_S
        )
        self.whole = self._histograms(
            "e2e_request_latency_seconds",
            "From arrival to the end of an answer that was not cut.",
            _WHOLE_S,
        )
        self.queue = self._histograms("request_queue_time_seconds", "Waiting for a place.", _PART_S)
        self.load = self._histograms(
            "request_load_time_seconds", "Waiting for the model to be loaded.", _PART_S
        )
        self.prefill = self._histograms(
            "request_prefill_time_seconds", "Reading the prompt, as reported.", _PART_S
        )
        self.decode = self._histograms(
            "request_decode_time_seconds", "Generating the answer, as reported.", _PART_S
        )
        self.lag = self._histograms(
            "event_loop_lag_seconds",
            "How late the router's loop comes to a timer, looked at twice a second.",
            _LAG_S,
            labels=(),
        )

    def _counters(self, name: str, text: str, *labels: str) -> Counters:
        made = Counters(Family(f"{NAMESPACE}_{name}", COUNTER, text, labels))
        self.all.append(made)
        return made

    def _histograms(
        self,
        name: str,
        text: str,
        bounds: tuple[float, ...],
        labels: tuple[str, ...] = ("model",),
    ) -> Histograms:
        made = Histograms(Family(f"{NAMESPACE}_{name}", HISTOGRAM, text, labels), bounds)
        self.all.append(made)
        return made
