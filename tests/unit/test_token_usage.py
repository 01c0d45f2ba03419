"""What a request counts for against its caller's tokens, whatever its instance has told."""

import pytest
from made_records import made

from ollama_fleet.api.auth.usage import MOST_PROMPT_TOKENS, tokens_used
from ollama_fleet.history import Ending

UNTOLD = {"prompt_tokens": 0, "output_tokens": 0, "records": 40, "request_bytes": 400}


@pytest.mark.parametrize(
    ("changes", "tokens"),
    [
        ({"prompt_tokens": 300, "output_tokens": 20, "records": 9_999}, 320),
        ({"prompt_tokens": 6, "output_tokens": 0, "route": "/api/embed"}, 6),
        ({**UNTOLD, "ending": Ending.CLIENT_GONE}, 140),
        ({**UNTOLD, "route": "/v1/chat/completions"}, 140),
        ({**UNTOLD, "route": "/api/embeddings", "records": 0}, 100),
        ({**UNTOLD, "request_bytes": 10**9}, MOST_PROMPT_TOKENS + 40),
        ({**UNTOLD, "ending": Ending.CLIENT_GONE, "status": 0, "records": 0}, 100),
        ({**UNTOLD, "ending": Ending.CLIENT_GONE, "status": 0, "records": 0, "tried": ()}, 0),
        ({**UNTOLD, "ending": Ending.REFUSED, "status": 404, "records": 0}, 0),
        ({**UNTOLD, "route": "/api/show", "records": 0}, 0),
    ],
)
def test_what_is_not_told_is_what_came_by_and_an_estimate(changes, tokens):
    assert tokens_used(made(**changes)) == tokens
