"""The section about callers: who needs a key, and what those may do who are no admins."""

from pydantic import Field

from ollama_fleet.config.kinds import Count, DurationOrZero, Folder, Text
from ollama_fleet.config.settings import Record


class UsersConfig(Record):
    """What callers may ask for whose role is user, of instances that all share."""

    max_context: Count | None = None
    """The largest context that they may name (num_ctx); unset is any."""
    max_keep_alive_s: DurationOrZero | None = Field(None, alias="max_keep_alive")
    """The longest stay of a model that they may name (keep_alive); unset is any, for ever too."""
    options: tuple[Text, ...] | None = None
    """The options that they may set, such as temperature and num_predict; unset is any."""
    unload: bool = False
    """Let them unload models (keep_alive below a minute), which others may be using."""


class AuthConfig(Record):
    """Keys: who needs one, where they are, and what is switched off."""

    required: bool | None = None
    """Let nobody in without a key; unset, that is so where `listen` can be reached by others."""
    keys_file: Folder | None = None
    """The file of keys, which `fleet keys` writes; unset is keys.json in the state directory."""
    create: bool = False
    """Let admins make models of files and of other models: /api/create and /api/blobs."""
    push: bool = False
    """Let admins publish models: /api/push."""
    users: UsersConfig = Field(default_factory=UsersConfig)
    """What callers may ask for whose role is user, of instances that all share."""
