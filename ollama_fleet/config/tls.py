"""The section about TLS: with which certificate the fleet answers."""

from ollama_fleet.config.kinds import PemFile
from ollama_fleet.config.settings import Record


class TlsConfig(Record):
    """A certificate, with which the fleet speaks HTTPS instead of HTTP; both keys or none."""

    cert: PemFile | None = None
    """The certificate in PEM form, those that vouch for it behind it; read anew if it changes."""
    key: PemFile | None = None
    """Its private key, in PEM form and without a passphrase."""

    @property
    def enabled(self) -> bool:
        """Whether the fleet has a certificate."""
        return self.cert is not None and self.key is not None
