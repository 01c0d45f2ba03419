"""Certificates for tests, made by the program `openssl`."""

import shutil
import subprocess
from pathlib import Path

import pytest

NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1"


def openssl(*arguments: object) -> None:
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("there is no openssl to make certificates with")
    subprocess.run([program, *map(str, arguments)], check=True, capture_output=True, timeout=60)


class Authority:
    """A certificate authority of nobody else's, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file, self._key = folder / "ca.pem", folder / "ca.key"
        self._made = 0
        made = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test"
        usage = "keyUsage=critical,keyCertSign"
        openssl(*made.split(), "-addext", usage, "-keyout", self._key, "-out", self.file)

    def issue(self, cert: Path, key: Path, *, name: str = "localhost") -> None:
        """Write a certificate for this machine, and its key; one is told from another by `name`."""
        self._made += 1
        asked, extensions = self.folder / "asked.csr", self.folder / "names.cnf"
        extensions.write_text(NAMES)
        new = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
        openssl(*new.split(), "-subj", f"/CN={name}", "-keyout", key, "-out", asked)
        signed = f"x509 -req -days 2 -set_serial {self._made}".split()
        by = ("-CA", self.file, "-CAkey", self._key, "-extfile", extensions)
        openssl(*signed, *by, "-in", asked, "-out", cert)
