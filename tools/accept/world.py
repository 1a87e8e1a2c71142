"""State of an acceptance: account, installation, the group made for it, and results so far."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, TypeVar

from promotion.aws.clients import ClientFor
from promotion.aws.ledger_table.cursors import DynamoCursors
from promotion.aws.ledger_table.ledger import DynamoLedger
from promotion.config.loading import Config
from promotion.domain.model import Evidence
from promotion.ledger.snapshot import GroupSnapshot

Seen = TypeVar("Seen")
PREFIX = "promotion-accept-"
MINUTES = 60.0


class Failed(Exception):
    """A step failed; has the remedy."""

    def __init__(self, found: str, do: str) -> None:
        super().__init__(found)
        self.do = do


class Approver(Protocol):
    """The approver in the acceptance."""

    def ask(self, group: str, version: int, environment: str, page: str) -> None:
        """Have the version approved, or ask a person to do it; return without waiting for a person."""


@dataclass
class World:
    """A deployment under acceptance.

    Attributes:
        client: makes boto3 clients.
        installation: what the stack wrote down about itself.
        caller: ARN of who runs this.
        emulated: whether AWS is an emulator, of which much can't be told.
        patience: factor on how long is waited; pause_s: between two looks.
    """

    config: Config
    prefix: str
    installation: dict[str, Any]
    client: ClientFor
    caller: str
    group: str
    approver: Approver
    emulated: bool
    public_key: str
    patience: float = 1.0
    pause_s: float = 5.0
    say: Callable[[str], None] = print
    arns: dict[int, str] = field(default_factory=dict)
    made: list[tuple[str, str]] = field(default_factory=list)
    took_s: dict[str, float] = field(default_factory=dict)
    evidence: Evidence | None = None
    empty_lines: int | None = None

    @property
    def environment(self) -> str:
        """The first environment, for which new versions are requested first."""
        return self.config.environment_names[0]

    @property
    def account(self) -> str:
        return self.caller.split(":")[4]

    @property
    def bucket(self) -> str:
        """Address of the artifact."""
        buckets = self.config.artifacts.buckets
        return buckets[0] if buckets else f"sagemaker-{self.installation['region']}-{self.account}"

    @cached_property
    def ledger(self) -> DynamoLedger:
        return DynamoLedger(self.client("dynamodb"), self.installation["ledger_table"])

    @cached_property
    def cursors(self) -> DynamoCursors:
        return DynamoCursors(self.client("dynamodb"), self.installation["projections_table"])

    @cached_property
    def machine(self) -> dict[str, Any]:
        """Settings of the environment's inference machine: image, role, evidence bucket."""
        arn = self.installation["inference_machines"][self.environment]
        found = self.client("stepfunctions").describe_state_machine(stateMachineArn=arn)
        told: dict[str, Any] = json.loads(found["definition"])["States"]["Settings"]["Result"]
        return told

    def view(self) -> GroupSnapshot:
        """The group as the ledger has it."""
        return self.ledger.view(self.group)

    def until(self, what: str, look: Callable[[], Seen], *, minutes: float, do: str) -> Seen:
        """Look until there is something to see, and return it.

        Raises:
            Failed: there was nothing in time; with what to do.
        """
        begun = time.monotonic()
        while not (found := look()):
            if time.monotonic() - begun > minutes * MINUTES * self.patience:
                raise Failed(f"waited {minutes * self.patience:.0f} minutes in vain for {what}.", do)
            time.sleep(self.pause_s)
        self.took_s[what] = round(time.monotonic() - begun, 1)
        return found
