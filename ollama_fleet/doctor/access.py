"""Who is let in, and by which certificate the fleet is known."""

from collections.abc import Iterator

from ollama_fleet.config import Config
from ollama_fleet.control.validity import read_validity
from ollama_fleet.doctor.check import Check, Status
from ollama_fleet.doctor.facts import CertificateFacts, Facts, KeysFacts


def keys(facts: Facts) -> Iterator[Check]:
    """Whether those who reach the fleet need a key, and somebody has one that is good for all."""
    seen = facts.keys
    if seen is None:
        return
    found = [*_amiss(seen)]
    yield from found
    if not found and seen.required:
        yield Check("keys", Status.OK, f"{seen.valid} are valid, {seen.admins} of them of admins")
    elif not found:
        yield Check("keys", Status.OK, f"none is asked for on {seen.listen}: this machine only")


def _amiss(seen: KeysFacts) -> Iterator[Check]:
    serious = Status.FAIL if seen.required else Status.WARN
    if seen.trouble:
        fix = "mend the file, or move it away and make keys anew: `fleet keys add`"
        yield Check("keys", serious, seen.trouble, fix)
    elif seen.required and not seen.valid:
        yield Check(
            "keys",
            Status.FAIL,
            f"every request needs a key, and {seen.path} has none that is valid",
            "`fleet keys add NAME --role admin` makes one",
        )
    elif seen.required and not seen.admins:
        yield Check(
            "keys",
            Status.WARN,
            "no valid key is an admin's: nobody can pull or delete models over HTTP",
            "`fleet keys add NAME --role admin` makes one",
        )
    if seen.is_open:
        yield Check(
            "keys",
            Status.WARN,
            f"none is asked for: whoever reaches {seen.listen} may use, pull and delete models",
            "`fleet keys add NAME --role admin`, and take `insecure_no_auth: true` or"
            " `auth.required: false` out of fleet.yaml; or listen on 127.0.0.1",
        )
    if seen.expired:
        names = " ".join(seen.expired)
        fix = f"`fleet keys rm {names}`, and new ones for who still needs them"
        yield Check("keys", Status.WARN, f"expired: {', '.join(seen.expired)}", fix)


def certificate(facts: Facts) -> Iterator[Check]:
    """Whether clients will take the fleet for whom its certificate says; nothing without TLS."""
    seen = facts.certificate
    if seen is None:
        return
    if seen.trouble:
        fix = "`tls.cert` is a file in PEM form, the fleet's own certificate first"
        yield Check("certificate", Status.FAIL, f"{seen.path}: {seen.trouble}", fix)
    elif seen.told:
        fix = f"write a new one, and its key, in place of {seen.path}: no restart is needed"
        yield Check("certificate", Status.WARN, f"{seen.path} {seen.told}", fix)
    else:
        yield Check("certificate", Status.OK, f"{seen.path} is valid")


def certificate_facts(config: Config, now_s: float) -> CertificateFacts | None:
    """What there is to be said of a fleet's certificate at that Unix time; None without TLS."""
    path = config.tls.cert
    if path is None:
        return None
    try:
        told = read_validity(path.read_text(errors="replace")).told(now_s)
    except OSError as error:
        return CertificateFacts(str(path), trouble=f"it cannot be read: {error.strerror}")
    except ValueError as error:
        return CertificateFacts(str(path), trouble=str(error))
    return CertificateFacts(str(path), told=told)
