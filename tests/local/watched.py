"""A running service that a test watches by its AWS."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from local.service import LocalService
from promotion.aws.ledger_table.ledger import DynamoLedger
from promotion.ledger.events import Event


def installation(service: LocalService) -> dict[str, str]:
    """The names of the service's resources, as its parameter has them."""
    value = service.session().client("ssm").get_parameter(Name="/promotion/_service")["Parameter"]["Value"]
    found: dict[str, str] = json.loads(value)
    return found


@dataclass
class Watched:
    """A service and the group that is watched; clients are kept: one a poll would leave its sockets to the collector."""

    service: LocalService
    group: str

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self.clients.values():
            client.close()

    @cached_property
    def clients(self) -> dict[str, Any]:
        return {}

    @cached_property
    def ledger(self) -> DynamoLedger:
        return DynamoLedger(self.client("dynamodb"), installation(self.service)["ledger_table"])

    def client(self, name: str) -> Any:
        if name not in self.clients:
            self.clients[name] = self.service.session().client(name)
        return self.clients[name]

    def events(self, kind: str) -> list[Event]:
        """The group's events of a kind."""
        return [event for event in self.ledger.events(self.group) if event.kind == kind]
