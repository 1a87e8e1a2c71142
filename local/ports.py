"""Ports of the local service, and the message when one is taken."""

from __future__ import annotations

import platform
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

LOOPBACK = "127.0.0.1"


class PortInUse(Exception):
    """Another process listens on a port that this service needs."""

    def __init__(self, port: int, variable: str) -> None:
        super().__init__(f"Port {port} is in use. Stop what listens there, or set {variable} to another port.")
        self.port = port
        self.variable = variable


class PortInvalid(Exception):
    """A variable that should hold a port number holds something else."""


@dataclass(frozen=True)
class Ports:
    """The three doors of the local service."""

    http: int = 8000
    aws: int = 5000
    idp: int = 9000

    @classmethod
    def of_environment(cls, environ: Mapping[str, str]) -> Ports:
        """Ports as PORT, AWS_PORT and IDP_PORT say.

        Raises:
            PortInvalid: one of them is no port number, or two are the same.
        """
        ports = cls(
            http=_port(environ, "PORT", cls.http),
            aws=_port(environ, "AWS_PORT", cls.aws),
            idp=_port(environ, "IDP_PORT", cls.idp),
        )
        if len({ports.http, ports.aws, ports.idp}) < 3:
            raise PortInvalid("PORT, AWS_PORT and IDP_PORT must be three different ports.")
        return ports

    @property
    def http_url(self) -> str:
        return f"http://{LOOPBACK}:{self.http}"

    @property
    def aws_url(self) -> str:
        return f"http://{LOOPBACK}:{self.aws}"

    @property
    def idp_url(self) -> str:
        return f"http://{LOOPBACK}:{self.idp}"

    def environment(self) -> dict[str, str]:
        return {"PORT": str(self.http), "AWS_PORT": str(self.aws), "IDP_PORT": str(self.idp)}

    def check_free(self) -> None:
        """Before anything is started, so that a busy port leaves nothing running.

        Raises:
            PortInUse: names the port and the variable to set.
        """
        for port, variable in ((self.http, "PORT"), (self.aws, "AWS_PORT"), (self.idp, "IDP_PORT")):
            with socket.socket() as probe:
                # As servers do: a port whose last connections are still closing is free to listen on.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((LOOPBACK, port))
                except OSError:
                    raise PortInUse(port, variable) from None


class Held:
    """Free ports, reserved until this is closed: bound, and not listened on.

    A server that binds one with SO_REUSEADDR can still listen there. A port that was only looked up, and released, may be
    taken by another process before a server has started. Only Linux allows two processes to bind one port like that: elsewhere
    the ports are released.
    """

    def __init__(self, count: int = 1) -> None:
        self._sockets = [socket.socket() for _ in range(count)]
        for each in self._sockets:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.bind((LOOPBACK, 0))
        self.numbers: tuple[int, ...] = tuple(each.getsockname()[1] for each in self._sockets)
        if platform.system() != "Linux":
            self.close()

    @property
    def number(self) -> int:
        """The port, where one is held."""
        return self.numbers[0]

    def close(self) -> None:
        for each in self._sockets:
            each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _port(environ: Mapping[str, str], variable: str, default: int) -> int:
    text = environ.get(variable) or str(default)
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise PortInvalid(f"{variable} is {text!r}, which is no port number.")
    return int(text)
