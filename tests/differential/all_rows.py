"""The whole table: every request that is asked of both."""

from rows_doors import GRANTS, OPTIONS_METHOD, WELCOME
from rows_errors import BODIES, EVERYWHERE, PULLS, REFUSED
from rows_inference import LOADS, OPTIONS, ROUTES, SPELLINGS
from rows_management import ACCOUNT, BLOBS, CHANGES, FORMS, REFUSED_CHANGES, REGISTRY, VERSIONS
from rows_methods import WRONG_METHODS
from rows_odd_json import JSON, NAMES
from rows_plain import FRAMING, HEADS, LISTS, METHODS, PATHS
from rows_refusals import REFUSALS
from rows_tools import TOOLS

TABLE = (
    *LISTS, *PATHS, *METHODS, *HEADS, *FRAMING, *ROUTES, *OPTIONS, *SPELLINGS, *LOADS,
    *EVERYWHERE, *BODIES, *REFUSED, *PULLS, *GRANTS, *OPTIONS_METHOD, *WELCOME,
    *CHANGES, *REFUSED_CHANGES, *BLOBS, *ACCOUNT, *FORMS, *REGISTRY, *VERSIONS, *WRONG_METHODS,
    *TOOLS, *REFUSALS, *JSON, *NAMES,
)  # fmt: skip
