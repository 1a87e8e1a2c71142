"""A provider behind TLS, with a certificate that only its own authority vouches for."""

from __future__ import annotations

from pathlib import Path

from tests.certificates import speak_tls
from tests.identity.provider import Provider


class TlsProvider(Provider):
    """`certificate` is what `[advanced.identity] ca_bundle` has to hold."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.certificate = speak_tls(self._server, folder).read_text(encoding="utf-8")

    @property
    def issuer(self) -> str:
        return super().issuer.replace("http://", "https://")
