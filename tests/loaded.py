"""An installation that is verified under load: whatever a verification reads, somebody appends or projects meanwhile."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from promotion import names
from promotion.aws.ledger_table.checking import Installation, check
from promotion.config.loading import Config
from promotion.errors import NotApproved
from promotion.ledger.events import Event
from promotion.ledger.verify import Mismatch
from tests.fakes import ANN, CONFIG, GROUP, PREFIX, FakeService, as_client

ENVIRONMENTS = ("dev", "test")
# How often a read finds that something has happened meanwhile.
BUSY = 0.25


class Loaded:
    """Groups of a service that are worked on between any two reads of whoever verifies them."""

    def __init__(self, seed: int, groups: int = 2, *, busy: float = BUSY, config: Config = CONFIG) -> None:
        self.fake = FakeService(config)
        self.groups = [f"{GROUP}-{number}" for number in range(groups)]
        self.random, self.busy = random.Random(seed), busy
        self._versions = dict.fromkeys(self.groups, 1)
        self._runs = 0
        self.acts = 0
        for group in self.groups:
            self.fake.promote(1, to="test", group=group)
            self.fake.project(group)

    def installation(self) -> Installation:
        """An installation as a verification reads it, under load."""
        fake = self.fake
        verifier = fake.verifier
        loaded: Any = _Between(fake.ledger, self)
        return Installation(
            verifier=type(verifier)(
                ledger=loaded,
                packages=_Between(verifier.packages, self),
                store=verifier.store,
                holds=verifier.holds,
                prefix=PREFIX,
                key_id=verifier.key_id,
                kept_runs=verifier.kept_runs,
                archived=verifier.archived,
            ),
            ledger=loaded,
            table="ledger",
            ssm=as_client(_Between(fake.ssm, self)),
            cursors=_Between(fake.cursors, self),
        )

    def verify(self) -> list[tuple[str, Mismatch]]:
        """All differences of one verification."""
        found = check(self.installation(), pause=self.pause)
        return [(name, each) for name, differences in found for each in differences]

    def pause(self, seconds: float) -> None:
        """Time passes: what was appended is projected, and others append."""
        for group in self.groups:
            self.fake.project(group)
        for _ in range(3):
            self.act()

    def act(self) -> None:
        """Append to a group, or project it, whole or in part."""
        self.acts += 1
        fake, group = self.fake, self.random.choice(self.groups)
        fake.later(seconds=1)
        match self.random.randrange(12):
            case 0:
                self._versions[group] += 1
                fake.promote(self._versions[group], to=self.random.choice(ENVIRONMENTS), group=group)
            case 1:
                with suppress(NotApproved):
                    fake.roll_back("dev", by=ANN, group=group)
            case 2 | 3:
                target = self.random.choice(names.TARGETS)
                fake.project(group, {target: fake.targets[target]})
            case 4 | 5 | 6:
                fake.project(group)
            case _:
                self._runs += 1
                live = fake.live("dev", group)
                if live is not None:
                    fake.measure(live, "dev", group=group, run=f"loaded-{self._runs}")


class _Between:
    """Does what `thing` does, and before and between its answers lets the load act."""

    def __init__(self, thing: Any, load: Loaded) -> None:
        self._thing, self._load = thing, load

    def _meanwhile(self) -> None:
        if self._load.random.random() < self._load.busy:
            self._load.act()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._thing, name)
        if name == "get_paginator":
            return lambda operation: _Between(found(operation), self._load)
        if not callable(found):
            return found

        def call(*given: Any, **named: Any) -> Any:
            self._meanwhile()
            answer = found(*given, **named)
            if isinstance(answer, Iterator):
                return self._each(answer)
            return answer

        return call

    def _each(self, answers: Iterator[Any]) -> Iterator[Any]:
        for number, answer in enumerate(answers):
            # A page of events is read at once, of parameters ten.
            if not isinstance(answer, Event) or number % 50 == 0:
                self._meanwhile()
            yield answer
