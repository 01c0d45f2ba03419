"""Text in a YAML file that comes from elsewhere: comments and quoted strings. Pure."""

import json


def comment(*lines: str) -> str:
    """Comment lines, whatever characters a driver or a path brings with it."""
    return "".join(
        "# " + "".join(c if c.isprintable() else " " for c in line).rstrip() + "\n"
        for line in lines
    )


def quoted(text: str) -> str:
    """A string that YAML reads as that string."""
    return json.dumps(text, ensure_ascii=False)
