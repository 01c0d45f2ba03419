"""A page of metrics as data, for programs that do not speak Prometheus."""

import math
from typing import Any

from prometheus_client.parser import text_string_to_metric_families


def families(page: str) -> list[dict[str, Any]]:
    """Each metric of a page: `name`, `kind`, `help` and `samples` (`name`, `labels`, `value`).

    A value that is no finite number is None, for JSON has none.
    """
    return [
        {
            "name": family.name,
            "kind": family.type,
            "help": family.documentation,
            "samples": [
                {
                    "name": sample.name,
                    "labels": sample.labels,
                    "value": sample.value if math.isfinite(sample.value) else None,
                }
                for sample in family.samples
            ],
        }
        for family in text_string_to_metric_families(page)
    ]
