"""The same request to a real Ollama and to the simulated one: the same answer but for content."""

import pytest
from all_rows import TABLE
from compare import answers, differences, kinds
from known_differences import BOTH, UNLIKE

SHARED = [row for row in TABLE if row.on == BOTH]


@pytest.mark.real
@pytest.mark.parametrize("row", SHARED, ids=lambda row: row.name.replace(" ", "-"))
def test_the_simulated_ollama_answers_as_the_real_one(simulated, real, row):
    """Status line, headers, framing; of a refusal its words too, of an answer its records' shape.

    So what is found beside the simulated one alone, where no real one is at hand, can be trusted.
    """
    true, made_up = real.ask_straight(row), simulated.ask_straight(row)
    told = row.deterministic and answers(true, row.methods)[-1].status >= 400
    found = differences(true, made_up, row.methods, deterministic=told)
    assert kinds(found) == UNLIKE.get(row.name, frozenset()), "\n".join(found)


def test_what_the_simulation_cannot_imitate_is_in_the_table():
    assert set(UNLIKE) <= {row.name for row in SHARED}
