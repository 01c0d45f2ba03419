"""What the doctor sees of keys: the file is read as a fleet that starts would read it."""

from ollama_fleet.api.auth import Caller, Role
from ollama_fleet.api.auth.keyfile import NoSuchFile, read, ring
from ollama_fleet.config import Config
from ollama_fleet.directories import Directories
from ollama_fleet.doctor.facts import KeysFacts
from ollama_fleet.errors import ConfigError


def key_facts(config: Config, directories: Directories, now_s: float) -> KeysFacts:
    """See who has a key at that Unix time. Never raises."""
    path = config.auth.keys_file or directories.keys
    trouble = ""
    callers: tuple[Caller, ...] = ()
    try:
        callers = tuple(ring(path, read(path)).callers.values())
    except NoSuchFile:
        pass
    except ConfigError as error:
        trouble = error.reason
    valid = [caller for caller in callers if now_s < caller.expires_s]
    return KeysFacts(
        path=str(path),
        listen=str(config.listen),
        required=config.keys_required,
        is_open=not (config.listen.is_loopback or config.keys_required),
        trouble=trouble,
        valid=len(valid),
        admins=sum(caller.role is Role.ADMIN for caller in valid),
        expired=tuple(caller.name for caller in callers if now_s >= caller.expires_s),
    )
