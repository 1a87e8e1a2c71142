"""Measure the control plane: calls of a decision, verification, a burst of registrations, faults.

Writes build/bench/control.json: `decision_calls_at_10`, `decision_calls_at_10000`, `decision_bytes_at_10`,
`decision_bytes_at_10000`, `verify_10000_s`, `verify_10000_cpu_s`, `board_pages`, `board_queries`, `burst_registered`,
`burst_lost`, `burst_drained_s` (of simulated time, at Parameter Store's 3 writes a second), `faults_injected`, `faults_survived`,
`storm_30`, `reruns_24` (mails and votes), `lifecycle_steps`, `lifecycle_cells` (of docs/lifecycle.md), `lifecycle_cells_walked`,
`schema_fields_added` (to a copy of the code, one for each struct) and `hashes_changed` (of a recorded ledger, read by it).
`hashing_ratio`, `hashing_ms_per_member`, `hashing_peak_mb`: benchmarks/hashing.py; `three_years`: benchmarks/three_years.py.
In one process on moto: counts are those of AWS, times are this machine's. docs/benchmarks/control.md has the table.
"""

from __future__ import annotations

import json
import os
import platform
import random
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import time_machine

from benchmarks import faults, hashing, tables
from lambdas.handlers.on_projection_due import cursors_table
from lambdas.shared.dependencies import ledger, signer
from promotion import names
from promotion.aws.ledger_table.ledger import DynamoLedger
from promotion.domain.canonical_json import canonical
from promotion.domain.model import EnvironmentState
from promotion.domain.people import SYSTEM
from promotion.ledger.board_page import BoardPage
from promotion.ledger.events import NewEvent, chained, signed
from promotion.ledger.fold import evolve
from promotion.rendering.mail import letters
from tests.fakes import GROUP, FakeService, a_run
from tests.faults.simulation import BEGINNING, Simulation, simulation
from tests.ledgers import later
from tests.ledgers.reading import report
from tests.rules.lifecycle_walk import LINKS, Walk
from tests.settled import Post
from tools.lifecycle import cells

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "bench" / "control.json"
PAGE = ROOT / "docs" / "benchmarks" / "control.md"
LONG_HISTORY = 10_000
BOARD_GROUPS, BOARD_ENVIRONMENTS, BOARD_PAGE = 1_000, 4, 400
BURST = 1_000
BURST_GROUPS = 20
WRITES_PER_SECOND = 3
# A transaction takes 100 writes, three of them states and head.
APPENDED_AT_ONCE = 90
SAMPLE = 41
LIFECYCLE_STEPS = 10_000


def main(*, long: bool) -> dict[str, Any]:
    """All figures; a complete run of the faults only with `long`, else the last `make faults`, else a sample."""
    from benchmarks import three_years  # needs the CDK, which tests of what else is here run without

    os.environ.update(faults.FAKE_ACCOUNT)
    with tempfile.TemporaryDirectory() as folder:
        figures = {**decisions(Path(folder)), **board(Path(folder)), **burst(Path(folder)), **_faults(long=long)}
        figures |= upgrade(Path(folder) / "later")
    figures |= {**lifecycle(), "storm_30": storm_30(), "reruns_24": reruns_24(), **hashing.figures()}
    figures["three_years"] = three_years.figures(long=long)
    figures |= {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1), "python": platform.python_version()}
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    PAGE.write_text(page(figures), encoding="utf-8")
    return figures


def upgrade(home: Path) -> dict[str, Any]:
    """Count the hashes and digests of a recorded ledger that change when each struct gets one more field."""
    (recording, *_) = sorted((ROOT / "tests" / "ledgers").glob("*/ledger.json"))
    added = later.make(home)
    before, after = report(recording.parent), later.read_by(home, recording.parent)
    pairs = [
        *zip(before["hashes"], after["hashes"], strict=True),
        *zip(before["digests"], after["digests"], strict=True),
    ]
    return {"schema_fields_added": added, "hashes_changed": sum(one != other for one, other in pairs)}


def lifecycle() -> dict[str, Any]:
    """Walk the table of docs/lifecycle.md, with projections that die, replays and edits of the registry."""
    walked = Walk(seed=16).walk(LIFECYCLE_STEPS)
    whole = set(cells())
    return {
        "lifecycle_steps": LIFECYCLE_STEPS,
        "lifecycle_cells": len(whole),
        "lifecycle_cells_walked": len(whole & set(walked)),
    }


def storm_30() -> dict[str, int]:
    """30 registrations of one group within 30 s in random order, mailed with `[advanced.mail] settle` as by default."""
    fake, order = FakeService(), list(range(1, 31))
    post = Post(fake)
    random.Random(7).shuffle(order)
    for version in order:
        fake.register(version)
        fake.project()
        post.pass_time(seconds=1)
    post.pass_time(minutes=10)
    statuses = Counter(state.statuses["dev"] for state in fake.ledger.versions(GROUP))
    return {
        "asked": statuses[names.PENDING],
        "superseded": statuses[names.SUPERSEDED],
        "mails_per_approver": post.most(),
    }


def reruns_24() -> dict[str, int]:
    """24 hourly runs of a version that waits for its second vote, the verdict of each fourth one another."""
    fake = FakeService()
    fake.promote(1, to="test")
    fake.measure(1, "test", run="first")
    fake.decide(1, "prod")
    begun = fake.view().head.sequence
    for hour in range(24):
        fake.later(hours=1)
        fake.measure(1, "test", 0.3 if hour % 4 == 2 else 0.7, run=f"hour-{hour}")
    return {
        "mails_per_approver": _most_mails(fake, after=begun),
        "votes_lost": 1 - fake.view().environment("prod").pending_votes,
    }


def _most_mails(fake: FakeService, after: int = 0) -> int:
    """The most mails that one approver gets about the events after a sequence number."""
    told: Counter[str] = Counter()
    for event in fake.ledger.events(GROUP, after=after):
        for letter in letters(event, view=fake.view(), config=fake.config, links=LINKS, picture=lambda uri: None):
            told.update({*letter.to, *letter.cc})
    return max(told.values(), default=0)


def page(f: dict[str, Any]) -> str:
    """docs/benchmarks/control.md."""
    from benchmarks import three_years

    carried = f["decision_bytes_at_10000"] / f["decision_bytes_at_10"]
    rows = [
        ("AWS calls of a decision at 10 events of history", f"{f['decision_calls_at_10']}", "", ""),
        ("The same at 10,000", f"{f['decision_calls_at_10000']}", "at most 1.05 of that",
         f"bytes there and back: {carried:.3f} of those at 10"),
        ("`verify` of 10,000 events", f"{f['verify_10000_s']:.1f} s", "at most 10 s",
         f"{f['verify_10000_cpu_s']:.1f} s of the process's own time, moto's share included: chain, signatures, folded states, "
         "registry, Parameter Store"),
        ("Queries of a board of 1,000 groups by four environments", f"{f['board_queries']}", "one a page",
         f"{f['board_pages']} pages of {BOARD_PAGE}"),
        ("Registrations within a minute, recorded", f"{f['burst_registered']}", f"{BURST}", f"over {BURST_GROUPS} groups"),
        ("Lost of them", f"{f['burst_lost']}", "0", f"in order within each group: {'yes' if f['burst_in_order'] else 'no'}"),
        ("Drained after", f"{f['burst_drained_s']} s", "", "of simulated time, at Parameter Store's 3 writes a second; "
         f"{f['burst_throttled']} of them were refused at first"),
        ("Cells of [the table of a version's life](../lifecycle.md) walked", f"{f['lifecycle_cells_walked']}",
         f"{f['lifecycle_cells']}, all", f"in {f['lifecycle_steps']:,} steps, each compared with the table"),
        ("30 registrations of a group within 30 s, in any order", f"{f['storm_30']['asked']} asked", "1",
         f"{f['storm_30']['superseded']} superseded; mails to an approver: {f['storm_30']['mails_per_approver']}"),
        ("Mails to an approver about 24 hourly runs", f"{f['reruns_24']['mails_per_approver']}", "at most 1",
         f"votes lost: {f['reruns_24']['votes_lost']}"),
        ("Hashing an archive, of the time of `sha256sum` and `tar`", f"{f['hashing_ratio']:.2f}", "at most 1.5",
         "256 MiB in 64 members, the worse of noise and zeros"),
        ("Hashing, a member", f"{f['hashing_ms_per_member']:.3f} ms", "at most 0.3 ms",
         "the worse of 20,000 and 200,000 members"),
        ("Memory of hashing", f"{f['hashing_peak_mb']:.1f} MB", "at most 100 MB", "above the process before it starts"),
        *three_years.rows(f["three_years"]),
        ("Faults injected", f"{f['faults_injected']}", "", _said_of_faults(f["journeys"], f["faults_every"])),
        ("Faults survived", f"{f['faults_survived']}", "all", "as docs/history.md says what that means"),
    ]  # fmt: skip
    return (
        "# The control plane\n\nWritten by `python -m benchmarks control`. One process on moto: counts are those of AWS, "
        f"times are this machine's.\n\n{tables.table(rows)}\n\n"
        f"{f['cores']} cores, Python {f['python']}; the load average was {f['load']}: beyond the cores' number, "
        "times are upper bounds.\n"
    )


def _said_of_faults(journeys: int, every: int) -> str:
    which = "all that there are" if every == 1 else f"one in {every}; `make faults` does them all"
    return f"over {journeys} journeys: {which}"


def decisions(folder: Path) -> dict[str, Any]:
    """Calls and bytes of one decision at 10 and at 10,000 events, and how long verifying those takes."""
    with simulation(folder) as service:
        for _ in range(2):
            service.register()
            service.settle()
        service.promote(2, "dev")
        service.register()
        service.settle()
        short = _decision(service, 3)
        _lengthen(service, LONG_HISTORY)
        service.register()
        service.settle()
        long = _decision(service, 4)
        begun, before = time.monotonic(), time.process_time()
        differences = service.differences()
        verified, used = time.monotonic() - begun, time.process_time() - before
        assert differences == [], differences[:3]
        assert len(service.story()) >= LONG_HISTORY
    return {
        "decision_calls_at_10": short[0],
        "decision_calls_at_10000": long[0],
        "decision_bytes_at_10": short[1],
        "decision_bytes_at_10000": long[1],
        "verify_10000_s": round(verified, 2),
        "verify_10000_cpu_s": round(used, 2),
    }


def board(folder: Path) -> dict[str, Any]:
    """Queries for a board of 1,000 groups and 4 environments."""
    with simulation(folder) as service:
        with service.without_faults():
            table = boto3.resource("dynamodb").Table("ledger")
            with table.batch_writer() as batch:
                for number in range(BOARD_GROUPS):
                    for name in ("dev", "test", "uat", "prod")[:BOARD_ENVIRONMENTS]:
                        state = EnvironmentState(group=f"group-{number:04d}", name=name, live=number + 1)
                        batch.put_item(
                            Item={
                                "pk": f"GROUP#{state.group}", "sk": f"ENV#{name}", "state": canonical(state).decode(),
                                "board_pk": "BOARD", "board_sk": f"{state.group}#{name}",
                            }
                        )  # fmt: skip
        service.calls.clear()
        index, pages, found, page = DynamoLedger(boto3.client("dynamodb"), "ledger").board, 0, 0, BoardPage(later=True)
        while page.later:
            page = index.page(groups=BOARD_PAGE // BOARD_ENVIRONMENTS, environments=BOARD_ENVIRONMENTS, after=page.last)
            pages, found = pages + 1, found + len(page.states)
        assert found == BOARD_GROUPS * BOARD_ENVIRONMENTS
        return {"board_pages": pages, "board_queries": service.calls.count("dynamodb:Query")}


def burst(folder: Path) -> dict[str, Any]:
    """Registrations within a minute, Parameter Store taking 3 writes a second of a simulated clock."""
    with simulation(folder) as service:
        groups = [f"burst-{number:02d}" for number in range(BURST_GROUPS)]
        with service.without_faults():
            for group in groups:
                boto3.client("sagemaker").create_model_package_group(ModelPackageGroupName=group)
        with time_machine.travel(BEGINNING, tick=False) as clock:
            limit = _Limit(clock)
            service.fails_if = limit.refuses
            for number in range(BURST):
                clock.shift(timedelta(minutes=1) / BURST)
                service.register(number // BURST_GROUPS + 1, groups[number % BURST_GROUPS])
            service.settle(most=100_000, between=limit.pass_time)
            while service.dead or service.undelivered:
                service.redrive(most=100_000, between=limit.pass_time)
            drained = (datetime.now(UTC) - BEGINNING).total_seconds()
            service.fails_if = None
            with service.without_faults():
                kinds = [event.kind for group in groups for event in ledger().events(group)]
            differences = service.differences()
        assert differences == [], differences[:3]
        assert limit.most_in_a_second <= WRITES_PER_SECOND
        registered = kinds.count(names.MODEL_REGISTERED)
    return {
        "burst_registered": registered,
        "burst_lost": BURST - registered,
        "burst_in_order": _in_order(service),
        "burst_drained_s": round(drained),
        "burst_throttled": limit.refused,
    }


class _Limit:
    """Parameter Store's limit on a clock that is moved by hand; what waits moves it."""

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._writes: list[datetime] = []
        self.most_in_a_second = 0
        self.refused = 0

    def refuses(self, call: str, given: dict[str, Any]) -> bool:
        """Never for long: the functions' client waits and tries again, as botocore's adaptive mode does."""
        if call != "ssm:PutParameter":
            return False
        for attempt in range(8):
            now = datetime.now(UTC)
            self._writes = [at for at in self._writes if now - at < timedelta(seconds=1)]
            if len(self._writes) < WRITES_PER_SECOND:
                self._writes.append(now)
                self.most_in_a_second = max(self.most_in_a_second, len(self._writes))
                return False
            self.refused += 1
            self._clock.shift(timedelta(milliseconds=50 * 2**attempt))
        return True

    def pass_time(self) -> None:
        """A delivery takes a tenth of a second, with four projectors at work."""
        self._clock.shift(timedelta(milliseconds=100))


def _in_order(service: Simulation) -> bool:
    """Return True if every group's events went out in the order of its ledger."""
    seen: dict[str, int] = {}
    for entry in service.published:
        detail = json.loads(entry["Detail"])
        if detail["sequence"] <= seen.get(detail["model_package_group"], 0):
            return False
        seen[detail["model_package_group"]] = detail["sequence"]
    return True


def _decision(service: Simulation, version: int) -> tuple[int, int]:
    """AWS calls of one decision, and the bytes that they carry there and back."""
    service.calls.clear()
    service.carried = 0
    assert service.decide(version, "dev") == 303
    cost = len(service.calls), service.carried
    service.settle()
    return cost


def _lengthen(service: Simulation, count: int) -> None:
    """Record inference runs as fast as transactions take them, without mail."""
    with service.without_faults():
        book, number = ledger(), 0
        while number < count:
            view = book.view(GROUP)
            facts = [
                NewEvent(
                    kind=names.INFERENCE_COMPLETED,
                    actor=SYSTEM,
                    version=2,
                    environment="dev",
                    data={"evidence": a_run("dev", run=f"run-{number + each}"), "status": "Completed"},
                )
                for each in range(APPENDED_AT_ONCE)
            ]
            events = signed(
                chained(view.head, facts, time=datetime.now(UTC), policy_digest=view.head.policy_digest), signer().sign
            )
            for event in events:
                evolve(view, event)
            book.append(view, events)
            number += len(events)
        head = book.head(GROUP).sequence
        for target in (names.EVENTS, names.MAIL):
            cursors_table().put(GROUP, target, head)
    service.stream.clear()
    service.redrive()


def _faults(*, long: bool) -> dict[str, Any]:
    if not long and faults.OUT.is_file():
        figures = json.loads(faults.OUT.read_text(encoding="utf-8"))
    else:
        figures = faults.inject(step=1 if long else SAMPLE)
    return {
        "faults_injected": figures["faults_injected"],
        "faults_survived": figures["faults_survived"],
        "journeys": figures["journeys"],
        "faults_every": figures["every"],
    }
