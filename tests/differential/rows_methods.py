"""Every method that a route has not, at every route."""

from collections.abc import Iterator

from request_table import Row, get

from ollama_fleet.api.app import OF_SOME_VERSIONS, ROUTES

METHODS = ("HEAD", "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def _wrong() -> Iterator[Row]:
    for path, methods in ROUTES.items():
        target = f"/{path.partition(':')[0]}x" if ":" in path else path
        for method in METHODS:
            if path not in OF_SOME_VERSIONS and method not in methods:
                yield get(f"{method} of {target}", target, 405, method=method)


WRONG_METHODS = tuple(_wrong())
