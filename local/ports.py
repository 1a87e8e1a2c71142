"""Ports of the local service, and the error if one is in use."""

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
    """The three ports of the local service."""

    http: int = 8000
    aws: int = 5000
    idp: int = 9000

    @classmethod
    def of_environment(cls, environ: Mapping[str, str]) -> Ports:
        """Return the ports in PORT, AWS_PORT and IDP_PORT.

        Raises:
            PortInvalid: one of them is no port number, or two are equal.
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
        """Check that the ports are free, before anything is started.

        Raises:
            PortInUse: a port is in use; names the port and the variable to set.
        """
        for port, variable in ((self.http, "PORT"), (self.aws, "AWS_PORT"), (self.idp, "IDP_PORT")):
            with socket.socket() as probe:
                # SO_REUSEADDR, as in servers, so that a port with connections in TIME_WAIT counts as free.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((LOOPBACK, port))
                except OSError:
                    raise PortInUse(port, variable) from None


class Held:
    """Free ports that are reserved until this object is closed: bound, but without listening.

    A server that binds such a port with SO_REUSEADDR can listen there. If a free port were found and released, another
    process could bind it before a server has started. Only Linux allows two processes to bind a port in this way; on
    other systems the ports are released.
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
        """The first reserved port."""
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
