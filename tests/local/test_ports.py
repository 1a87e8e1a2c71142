"""A port that is held: nobody else is given it, and the server that it is for can listen on it."""

from __future__ import annotations

import platform
import socket

import pytest

from local.ports import LOOPBACK, Held


def listens(port: int) -> bool:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((LOOPBACK, port))
            server.listen()
        except OSError:
            return False
        return True


@pytest.mark.skipif(platform.system() != "Linux", reason="elsewhere two can't bind one port")
def test_a_held_port_is_the_servers_and_nobody_elses() -> None:
    with Held(2) as held, socket.socket() as other:
        assert len(set(held.numbers)) == 2
        assert all(map(listens, held.numbers))
        with pytest.raises(OSError, match="in use"):
            other.bind((LOOPBACK, held.number))


def test_a_port_reservation_is_released_without_reuseport(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")

    with Held() as held, socket.socket() as server:
        server.bind((LOOPBACK, held.number))
        server.listen()
