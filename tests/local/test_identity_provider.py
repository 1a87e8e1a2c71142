"""The local identity provider that doesn't start gives the reason and the remedy."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local import identity_provider
from local.identity_provider import IdentityProvider, IdentityProviderFailed
from local.ports import Held, Ports
from tests.fakes import CONFIG


class Node:
    """The provider's process."""

    def __init__(self, *, ended: bool = False) -> None:
        self.stdin = io.BytesIO()
        self._ended = ended

    def poll(self) -> int | None:
        return 1 if self._ended else None


class Processes:
    """Starts a process, or fails as if its program did not exist."""

    def __init__(self, node: Node | None) -> None:
        self._node = node

    def start(self, command: list[str], **_: Any) -> Node:
        if self._node is None:
            raise FileNotFoundError(command[0])
        return self._node


class Time:
    """A clock with given times, on which a wait takes none."""

    def __init__(self, times: Iterator[float]) -> None:
        self._times = times

    def monotonic(self) -> float:
        return next(self._times)

    def sleep(self, seconds: float) -> None: ...


@pytest.fixture
def port() -> Iterator[int]:
    """A port on which nothing listens."""
    with Held() as held:
        yield held.number


def provider(children: Any, log: Path, port: int = 1) -> IdentityProvider:
    return IdentityProvider(Ports(idp=port), CONFIG, "secret", children, log)


def test_without_its_package_the_remedy_is_npm_ci(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity_provider, "ROOT", tmp_path)
    with pytest.raises(IdentityProviderFailed, match="npm ci"):
        provider(Processes(Node()), tmp_path / "log")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "node_modules" / "oidc-provider").mkdir(parents=True)
    monkeypatch.setattr(identity_provider, "ROOT", tmp_path)
    return tmp_path / "logs" / "provider.log"


def test_without_node_the_remedy_is_node(installed: Path) -> None:
    with pytest.raises(IdentityProviderFailed, match="`node` is not on PATH"):
        provider(Processes(None), installed)


def test_a_provider_that_ends_shows_the_end_of_its_log(
    installed: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity_provider, "time", Time(iter([0.0])))
    starting = provider(Processes(Node(ended=True)), installed, port)
    installed.write_text("early" + "x" * 2000 + "SyntaxError")
    with pytest.raises(IdentityProviderFailed, match=r"(?s)exit status 1.*x{10}SyntaxError") as failed:
        starting.wait_ready()
    assert "early" not in str(failed.value)


def test_a_provider_that_never_answers_is_given_up(installed: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    starting = provider(Processes(Node()), installed, port)
    times = iter((0.0, 299.0, 301.0))
    monkeypatch.setattr(identity_provider, "time", Time(times))
    with pytest.raises(IdentityProviderFailed, match="still running"):
        starting.wait_ready()
    assert list(times) == []
