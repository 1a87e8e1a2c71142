"""`python -m local` writes its public key where `promotion resolve` finds it, unless another service may have."""

from __future__ import annotations

import faulthandler
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local import __main__, signals
from local.ports import Ports
from promotion import names


class Host:
    """A host that starts nothing."""

    public_key = "-----BEGIN PUBLIC KEY-----"

    def __init__(self, options: Any) -> None:
        self.options = options

    def start(self) -> None:
        """Start nothing."""

    def stop(self) -> None:
        """Stop nothing."""


@pytest.fixture
def kept_signals() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("kept_signals")
@pytest.mark.parametrize(
    ("options", "port", "written"), [([], "", True), (["--private"], "", False), ([], "8001", False)]
)
def test_only_the_service_on_the_default_ports_publishes_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], port: str, written: bool
) -> None:
    template = tmp_path / "template.json"
    template.write_text("{}")
    monkeypatch.setattr(sys, "argv", ["local", "--home", str(tmp_path / "home"), "--template", str(template), *options])
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    for name in ("AWS_PORT", "IDP_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PORT", port)
    monkeypatch.setattr(__main__, "Host", Host)
    monkeypatch.setattr(Ports, "check_free", lambda _: None)
    monkeypatch.setattr(signals, "wait", lambda: None)
    monkeypatch.setattr(faulthandler, "register", lambda _, file: file.close())
    assert not __main__.main()
    key = tmp_path / "etc" / "promotion" / names.PUBLIC_KEY_FILE
    assert key.is_file() is written
    assert not written or key.read_text() == Host.public_key
