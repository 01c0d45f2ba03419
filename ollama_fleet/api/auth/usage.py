"""What a request that has ended counts for against a budget of tokens. Pure.

An instance tells that behind the last token: not where a stream is cut, not in OpenAI's streams
unless their client asks for it, and never for /api/embeddings. Whoever asks so has had the tokens
nevertheless, and they are estimated.
"""

from typing import Final

from ollama_fleet.api.auth.roles import INFERENCE
from ollama_fleet.history import Ending, RequestRecord

BYTES_PER_TOKEN: Final = 4  # of a prompt, about, in the languages that models know best
MOST_PROMPT_TOKENS: Final = 8192  # estimated: a picture is long in bytes, not in tokens


def tokens_used(record: RequestRecord) -> int:
    """Tokens of its prompt and of its answer: as told, else as many as came by, and estimated."""
    told = record.prompt_tokens + record.output_tokens
    if told or record.ending is Ending.REFUSED or record.route not in INFERENCE or not record.tried:
        return told
    prompt = min(record.request_bytes // BYTES_PER_TOKEN, MOST_PROMPT_TOKENS)
    return prompt + record.records
