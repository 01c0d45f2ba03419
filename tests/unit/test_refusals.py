"""What a client is told that is not let in."""

import json

import pytest

from ollama_fleet.api import answers
from ollama_fleet.errors import ConnectFailed, OutOfSockets
from ollama_fleet.router.admission import (
    DeadlineUnmet,
    NobodyLeft,
    QueueFull,
    QueueTimeout,
    TenantLimit,
)
from ollama_fleet.router.dialect import Dialect


def refused(failure, retry_after_s=0.0, dialect=Dialect.OLLAMA):
    failure.retry_after_s = retry_after_s
    return answers.failure(dialect, failure, request_id="r")


@pytest.mark.parametrize("kind", [QueueFull, QueueTimeout, DeadlineUnmet, NobodyLeft, OutOfSockets])
def test_where_the_fleet_cannot_it_is_503_in_ollamas_words(kind):
    answer = refused(kind("the reason"))
    assert answer.status == 503
    assert json.loads(answer.body)["error"].startswith("server busy, please try again")


@pytest.mark.parametrize("dialect", Dialect)
def test_a_tenant_that_has_used_its_own_limit_is_told_429_in_its_family(dialect):
    answer = refused(TenantLimit("the reason"), dialect=dialect)
    assert answer.status == 429
    error = json.loads(answer.body)["error"]
    assert "the reason" in (error if dialect is Dialect.OLLAMA else error["message"])


@pytest.mark.parametrize("kind", [QueueFull, TenantLimit])
@pytest.mark.parametrize(("seconds", "told"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (2.1, "3")])
def test_retry_after_is_whole_seconds_and_no_sooner_than_it_is_worth_it(kind, seconds, told):
    assert dict(refused(kind(), seconds).headers)["Retry-After"] == told


def test_a_failure_that_no_wait_mends_names_none():
    assert "Retry-After" not in dict(refused(ConnectFailed("gone")).headers)
