"""Measure 1,000 groups × 50 versions × 4 environments, with a run a day in each environment over three years.

One group is lived through on fakes that count, with the real rules and targets, and taken a thousand times; what a fake can't
show is on docs/operations.md, on paper. `[history] keep_versions` is 3. Figures of control.json: `parameters`, `rules`
(EventBridge rules and schedules, of a template with `[inference] schedule`), `verify_calls_a_day`, `verify_calls_whole` (once a
month), `verify_page_s` (a whole verification of 50 groups in one call, on paper), `board_bytes` (JSON, every group waiting in
every environment), `page_bytes` (the largest page), `events`, `ledger_mb`, `objects` (folded runs) and `archived` (objects of the
archive) of a group, `false_differences` of so many `verifications` under load, and `limits_reached`, with the `limits`.
"""

from __future__ import annotations

import json
import tempfile
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from infra.functions import SIZES
from lambdas.handlers.verify import PAGE
from promotion import names
from promotion.aws.ledger_table.checking import Installation, check
from promotion.aws.s3.attestations import EvidenceBucket
from promotion.aws.sagemaker.registry import RegistryTarget
from promotion.config.loading import Config, parse
from promotion.domain.model import EnvironmentState
from promotion.ledger.checkpoint import Checkpoint
from promotion.ledger.events import Event
from promotion.rendering import pages
from promotion.rendering.documents.board import board_document
from promotion.rendering.documents.overviews import EVENTS_SHOWN, model_document, version_document
from tests.fakes import ANN, BEGINNING, CONFIG_TEXT, DEE, GROUP, PREFIX, FakeService
from tests.infra.synthesized import ROOT, synthesize
from tests.loaded import Loaded
from tests.memory import MemoryLedger
from tests.rules.scenario import LINKS

GROUPS, VERSIONS, DAYS = 1_000, 50, 3 * 365
UAT = """[[environments]]
name = "uat"
approver_group = { id = "test-approvers", name = "Approvers, uat" }
approvers = ["ann@example.com"]
[[environments]]
name = "prod"
"""
KEEP = "[history]\nkeep_versions = 3\n"
CONFIG = parse(CONFIG_TEXT.replace('[[environments]]\nname = "prod"\n', UAT) + KEEP)
# A query answers with at most 1 MB: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Query.Pagination.html
QUERY_BYTES = 1 << 20
# Bytes of an item beside its text: keys, hash, and columns for the console.
ITEM_BYTES = 400
# A call over HTTP within a Region, and an event read, checked and folded, on the safe side.
CALL_S, EVENT_S = 0.03, 0.0005
VERIFICATIONS_OF_ONE = 10


class Limit(Struct, frozen=True, kw_only=True):
    """A limit of AWS, and what the service takes of it."""

    item: str
    count: float
    limit: float

    @property
    def reached(self) -> bool:
        """Return True if the count is above the limit."""
        return self.count > self.limit


class LongLedger(MemoryLedger):
    """A ledger in memory that finds keys in a sorted list: thousands of events take seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._sorted: list[tuple[str, str]] = []

    def _keys(self, group: str, prefix: str) -> list[tuple[str, str]]:
        if len(self._sorted) != len(self.items):
            self._sorted = sorted(self.items)
        begin, end = (bisect_left(self._sorted, (group, text)) for text in (prefix, f"{prefix}\x7f"))
        return self._sorted[begin:end]

    def events(self, group: str, *, after: int = 0) -> Iterator[Event]:
        for key in self._keys(group, "EVENT#")[after:]:
            yield self._event(key)


class Counting:
    """Answers as `thing` does, and counts each call as AWS is called for it."""

    def __init__(self, thing: Any, calls: Counter[str]) -> None:
        self._thing, self._calls = thing, calls

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._thing, name)
        if name == "get_paginator":
            return lambda operation: Counting(found(operation), self._calls)
        if name == "paginate":
            return lambda **given: self._pages(found(**given))
        if name == "events":
            return lambda group, after=0: self._events(found(group, after=after))
        if not callable(found):
            return found

        def call(*given: Any, **named: Any) -> Any:
            self._calls[name] += {"stored_states": 2}.get(name, 1)
            return found(*given, **named)

        return call

    def _pages(self, answers: Iterator[Any]) -> Iterator[Any]:
        self._calls["get_parameters_by_path"] += 1
        for number, answer in enumerate(answers):
            self._calls["get_parameters_by_path"] += number > 0
            yield answer

    def _events(self, events: Iterator[Event]) -> Iterator[Event]:
        read = 0
        self._calls["query"] += 1
        for event in events:
            read += len(event.text) + ITEM_BYTES
            if read > QUERY_BYTES:
                self._calls["query"] += 1
                read = 0
            yield event


def figures(*, long: bool, days: int = DAYS, versions: int = VERSIONS) -> dict[str, Any]:
    """All figures; with `long` a thousand verifications under load, else fifty."""
    fake, since = live_through(days, versions)
    events, calls, whole = fake.events(), verify_calls(fake, since), verify_calls(fake)
    of_a_group = sum(calls.values())
    documents = _documents(fake)
    board = _board(fake.config)
    verifications = 1_000 if long else 50
    page_s = PAGE * (sum(whole.values()) * CALL_S + len(events) * EVENT_S)
    parameters = GROUPS * len(fake.ssm.values)
    found: dict[str, Any] = {
        "parameters": parameters,
        "rules": rules(),
        "verify_calls_a_day": GROUPS * of_a_group + parameters // 10 + 1,
        "verify_calls_whole": GROUPS * sum(whole.values()),
        "verify_page_s": round(page_s),
        "board_bytes": len(board),
        "page_bytes": max(map(len, documents)),
        "events": len(events),
        "ledger_mb": round(sum(map(len, fake.ledger.items.values())) / 1e6, 1),
        "objects": sum(key.startswith(names.FOLDED_RUNS) for key in fake.s3.objects),
        "archived": sum(key.startswith(names.ARCHIVES) for key in fake.s3.objects),
        "verifications": verifications,
        "false_differences": false_differences(verifications),
    }
    largest = max(len(value) for (_, key), value in fake.ledger.items.items() if not key.startswith("EVENT#"))
    limits = [
        Limit(item="standard parameters of an account", count=parameters, limit=10_000),
        Limit(item="rules of a bus", count=found["rules"], limit=300),
        Limit(item="seconds of a call that verifies a page", count=page_s, limit=SIZES["verify"].timeout_s),
        Limit(item="bytes of the board as JSON", count=len(board), limit=6 << 20),
        Limit(item="bytes of the largest page", count=found["page_bytes"], limit=6 << 20),
        Limit(item="bytes of the largest item of the ledger", count=largest, limit=400 << 10),
        Limit(item="bytes of the largest parameter", count=max(map(len, fake.ssm.values.values())), limit=4096),
    ]
    found["limits"] = {each.item: [round(each.count), round(each.limit)] for each in limits}
    return {**found, "limits_reached": sum(each.reached for each in limits)}


def rows(f: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Rows of docs/benchmarks/control.md."""
    reached = [item for item, (count, limit) in f["limits"].items() if count > limit]
    size = f"{GROUPS:,} groups, {VERSIONS} versions each, 4 environments, a run a day in each, three years; `keep_versions = 3`"
    return [
        ("Parameters at the largest use", f"{f['parameters']:,}", "10,000", size),
        ("Rules and schedules", f"{f['rules']}", "300", "with a schedule that runs whatever is live"),
        ("Calls of the daily verification", f"{f['verify_calls_a_day']:,}", "",
         f"{f['verify_calls_whole']:,} once a month: {PAGE} groups then take {f['verify_page_s']} s, at "
         f"{CALL_S * 1000:.0f} ms a call of AWS (on paper)"),
        ("The board as JSON, every group waiting everywhere", f"{f['board_bytes']:,} bytes", "6 MB", "a page of it"),
        ("The largest page", f"{f['page_bytes']:,} bytes", "6 MB", "of board, model and version"),
        ("Events of a group", f"{f['events']:,}", "",
         f"{f['ledger_mb']} MB; {f['objects']} objects of folded runs, {f['archived']} of the archive"),
        ("False differences under load", f"{f['false_differences']}", "0", f"of {f['verifications']:,} verifications"),
        ("Limits reached", f"{f['limits_reached']}", "0", ", ".join(reached) or "none"),
    ]  # fmt: skip


def live_through(days: int, versions: int) -> tuple[FakeService, Checkpoint]:
    """Simulate one group: versions are promoted one after the other, and live versions run daily in each environment.

    Returns:
        The group, and the checkpoint of the day before the last.
    """
    fake = FakeService(CONFIG)
    fake.ledger = LongLedger()
    climbed, since = 0, Checkpoint(group=GROUP)
    for day in range(days):
        if day == days - 1:
            found, made = fake.verifier.verified(
                since, parameters=dict(fake.ssm.values), cursors=fake.cursors.read(GROUP)
            )
            assert found == []
            assert made is not None
            since = replace(made, whole_at=fake.now)
        fake.now = max(fake.now, BEGINNING + timedelta(days=day))
        if day * versions >= climbed * days:
            climbed += 1
            fake.promote(climbed)
        for name in fake.config.environment_names:
            fake.later(minutes=1)
            fake.measure(fake.live(name) or climbed, name, run=f"{name}-day-{day}")
        fake.project()
    assert fake.lines() == []
    return fake, since


class Kept:
    """A store of one checkpoint, in two buckets."""

    def __init__(self, checkpoint: Checkpoint, calls: Counter[str]) -> None:
        self._checkpoint, self._calls = checkpoint, calls

    def read(self, group: str) -> Checkpoint:
        self._calls["checkpoint"] += 2
        return self._checkpoint

    def keep(self, checkpoint: Checkpoint) -> None:
        self._calls["checkpoint"] += 2


def verify_calls(fake: FakeService, since: Checkpoint | None = None) -> Counter[str]:
    """Calls of one verification of the group: from a checkpoint, or a whole one."""
    calls: Counter[str] = Counter(list_object_versions=-(-DAYS // 1_000))
    verifier = fake.verifier
    ledger: Any = Counting(fake.ledger, calls)
    ssm: Any = Counting(fake.ssm, calls)
    s3: Any = Counting(fake.s3, calls)
    sagemaker: Any = Counting(fake.sagemaker, calls)
    registry = RegistryTarget(lambda identity: sagemaker, fake.config.environment_names)
    evidence = EvidenceBucket(s3, "evidence")
    cursors: Any = Counting(fake.cursors, calls)
    here = Installation(
        verifier=type(verifier)(
            ledger=ledger, packages=registry, store=verifier.store, holds=verifier.holds, prefix=PREFIX,
            key_id=verifier.key_id, kept_runs=evidence.folded_runs, archived=evidence.text,
        ),
        ledger=ledger, table="ledger", ssm=ssm, cursors=cursors, now=lambda: fake.now,
        checkpoints=Kept(since, calls) if since is not None else None,
    )  # fmt: skip
    [(_, found)] = check(here, GROUP)
    assert found == []
    return calls


def _documents(fake: FakeService) -> list[str]:
    newest = fake.events()[::-1]
    told: dict[str, Any] = {"csrf": "c" * 64, "links": LINKS, "now": fake.now}
    view, versions = fake.view(), fake.ledger.versions(GROUP)
    model = model_document(GROUP, versions, view.environments, newest[:EVENTS_SHOWN], ANN, fake.config, **told)
    state = view.version(versions[0].version)
    version = version_document(
        state, view, newest[:1000], ANN, fake.config, numbers=[each.version for each in versions],
        other=versions[1] if len(versions) > 1 else None, **told,
    )  # fmt: skip
    board = board_document(_waiting(fake.config), ANN, fake.config, links=LINKS, now=BEGINNING)
    return [
        pages.render(name, dict(document), person=ANN)
        for name, document in (("model", model), ("version", version), ("board", board))
    ]


def _board(config: Config) -> bytes:
    return json.dumps(board_document(_waiting(config), ANN, config, links=LINKS, now=BEGINNING)).encode()


def _waiting(config: Config) -> list[EnvironmentState]:
    """States of every group, each with a live version and an open request."""
    return [
        EnvironmentState(
            group=f"group-{number:04d}", name=name, live=1, live_since=BEGINNING, live_by=("Ann Adler",), pending=2,
            pending_since=BEGINNING, pending_expires_at=BEGINNING + timedelta(days=3),
            pending_id=f"group-{number:04d}:2:{name}:1", pending_requester=DEE,
        )
        for number in range(GROUPS)
        for name in config.environment_names
    ]  # fmt: skip


def rules() -> int:
    """Return rules and schedules of a template whose schedule runs every group in every environment."""
    with tempfile.TemporaryDirectory() as folder:
        text = (ROOT / "tests" / "infra" / "promotion.toml").read_text(encoding="utf-8")
        config = Path(folder) / "promotion.toml"
        config.write_text(text.replace("[inference]", '[inference]\nschedule = "rate(1 day)"', 1), encoding="utf-8")
        template = synthesize(config, Path(folder) / "out")
        return len(template.of_type("AWS::Events::Rule")) + len(template.of_type("AWS::Scheduler::Schedule"))


def false_differences(verifications: int) -> int:
    """Differences that verifications find in installations that are appended to and projected meanwhile."""
    return sum(
        len(loaded.verify())
        for seed in range(verifications // VERIFICATIONS_OF_ONE)
        for loaded in [Loaded(seed, config=CONFIG)]
        for _ in range(VERIFICATIONS_OF_ONE)
    )
