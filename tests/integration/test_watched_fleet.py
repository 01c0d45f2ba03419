"""A fleet under load is scraped over TCP and over its socket; promtool finds nothing amiss."""

import socket
import threading
import urllib.error
import urllib.parse
import urllib.request
from contextlib import ExitStack, suppress

import pytest
from fleet_process import FleetProcess, call, until
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse_text
from promtool import needs_promtool, promtool

from ollama_fleet.bench.ports import free_port
from ollama_fleet.metrics.catalogue import catalogue

OPEN = "application/openmetrics-text; version=1.0.0"
MODELS = ("llama3.1:8b", "qwen3:32b", "nowhere:1b")
ANSWERS = 12
CLIENTS, SCRAPERS = 64, 4


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A simulated fleet that has answered a dozen requests, and the address of its figures."""
    port = free_port()
    folder = tmp_path_factory.mktemp("watched")
    config = f"metrics: {{ listen: '127.0.0.1:{port}' }}\nlimits: {{ connections: {CLIENTS} }}\n"
    fleet = FleetProcess(folder, config=config, OLLAMA_SIM_TIME_SCALE="20")
    fleet.run("up", "-d", "--wait", "--simulate", "2x24GB")
    fleet.figures = f"http://127.0.0.1:{port}"
    asking = [threading.Thread(target=generate, args=(fleet, n)) for n in range(ANSWERS)]
    for each in asking:
        each.start()
    for each in asking:
        each.join()
    yield fleet
    fleet.run("down", "--now", check=False)


def generate(fleet, number):
    asked = {"prompt": "say it", "options": {"num_predict": 5}, "model": MODELS[number % 3]}
    with suppress(urllib.error.HTTPError):  # every third asks for what is nowhere
        call(f"{fleet.base}/api/generate", {**asked, "stream": False})


def scrape(fleet, accept="", path="/metrics"):
    request = urllib.request.Request(f"{fleet.figures}{path}", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.status, answer.headers["Content-Type"], answer.read().decode()


def ended(fleet):
    """How many requests the page says have ended; they are counted a moment later."""
    families = parse_text(scrape(fleet)[2])
    named = (f for f in families if f.name == "ollama_fleet_requests")
    return sum(sample.value for family in named for sample in family.samples)


def test_both_formats_are_read_by_strict_parsers_and_say_what_happened(watched):
    until(lambda: ended(watched) == ANSWERS, what="all requests")
    status, content_type, page = scrape(watched)
    assert (status, content_type[:25]) == (200, "text/plain; version=0.0.4")
    samples = {
        (s.name, *(v for k, v in sorted(s.labels.items()))): s.value
        for f in parse_text(page)
        for s in f.samples
    }
    assert samples["ollama_fleet_ready",] == 1
    assert samples["ollama_fleet_config_last_reload_successful",] == 1
    assert samples["ollama_fleet_kv_cache_utilization_ratio",] == 0
    assert samples["ollama_fleet_gpu_driver_up",] == 1
    assert samples["ollama_fleet_requests_total", "other", "refused", "/api/generate"] == 4
    resident = {key[3] for key in samples if key[0] == "ollama_fleet_model_resident"}
    assert set() < resident <= set(MODELS[:2])
    assert samples["process_resident_memory_bytes",] > 1e6
    assert samples["ollama_fleet_events_total", "instance_ready", "info"] == 2
    assert samples["ollama_fleet_event_loop_lag_seconds_count",] > 0
    decided = sum(n for key, n in samples.items() if key[0] == "ollama_fleet_decisions_total")
    assert decided == ANSWERS
    (free_bytes,) = (n for key, n in samples.items() if key[0] == "ollama_fleet_store_free_bytes")
    assert free_bytes > 0

    status, content_type, page = scrape(watched, OPEN)
    assert content_type.startswith("application/openmetrics-text")
    assert {f.name for f in parse_open(page)} <= {
        family.name.removesuffix("_total") for family in catalogue()
    }


@needs_promtool
@pytest.mark.parametrize("accept", ["", OPEN], ids=["text", "openmetrics"])
def test_promtool_has_nothing_to_say(watched, accept):
    """It reads the text format: OpenMetrics is given the `_total` that it leaves out of heads."""
    page = scrape(watched, accept)[2]
    if accept:
        assert page.endswith("# EOF\n")
        counters = {f.name for f in parse_open(page) if f.type == "counter"}
        lines = (
            line.replace(f" {line.split()[2]} ", f" {line.split()[2]}_total ", 1)
            if line.startswith("# ") and line.split()[2] in counters
            else line
            for line in page.removesuffix("# EOF\n").splitlines()
        )
        page = "\n".join(lines) + "\n"
    assert promtool("check", "metrics", text=page) == (0, "")


def test_the_socket_and_the_command_have_the_same_page(watched):
    def names(page):
        return {line.split()[2] for line in page.splitlines() if line.startswith("# TYPE")}

    assert names(watched.run("metrics").stdout) == names(scrape(watched)[2])


def test_a_balancer_asks_over_tcp_and_the_front_stays_ollamas_own(watched):
    assert scrape(watched, path="/readyz")[0] == 200
    assert scrape(watched, path="/healthz")[0] == 200
    for path in ("/metrics", "/readyz", "/healthz"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            call(f"{watched.base}{path}")


def connected(fleet):
    """How many connections of clients the page says are open."""
    named = (s for f in parse_text(scrape(fleet)[2]) for s in f.samples)
    return next(s.value for s in named if s.name == "ollama_fleet_client_connections")


def test_open_connections_are_counted(watched):
    port = urllib.parse.urlsplit(watched.base).port
    until(lambda: connected(watched) == 0)
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        until(lambda: connected(watched) == 3)
    until(lambda: connected(watched) == 0)


def test_who_scrapes_has_a_share_of_the_connections_too(watched):
    """Else a stranger at that address would take the files that requests need."""
    port = urllib.parse.urlsplit(watched.figures).port
    with ExitStack() as stack:
        for _ in range(SCRAPERS):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        with pytest.raises(urllib.error.HTTPError, match="503"):
            scrape(watched)
    until(lambda: is_answered(watched))


def is_answered(fleet):
    with suppress(OSError):
        return scrape(fleet)[0] == 200
    return False


def test_an_address_that_is_taken_is_an_error_that_names_the_key(watched, tmp_path):
    config = f"metrics: {{ listen: '{watched.figures.removeprefix('http://')}' }}\n"
    done = FleetProcess(tmp_path, config=config).run("up", "--simulate", "--no-tui", check=False)
    assert done.returncode != 0
    assert "metrics.listen" in done.stderr
