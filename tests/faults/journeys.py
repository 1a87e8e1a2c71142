"""Every journey, as what comes before it unharmed, and what is then done while calls fail."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import time_machine

from promotion import names
from tests.fakes import ANN, CHO, GIL
from tests.faults.fault import MODES, Fault, Mode
from tests.faults.simulation import Simulation, simulation

Result = TypeVar("Result")


@dataclass(frozen=True)
class Journey:
    """`act` must do the same however often a part of it is redelivered."""

    name: str
    before: Callable[[Simulation], None]
    act: Callable[[Simulation], None]
    hash_up_to_gb: float = 10.0


def _later(**by: float) -> time_machine.travel:
    """From now, however long this took to get here: on a busy machine the plant's clock may be half an hour on."""
    return time_machine.travel(datetime.now(UTC) + timedelta(**by), tick=True)


def _nothing(p: Simulation) -> None:
    """An empty service."""


def _one(to: str) -> Callable[[Simulation], None]:
    def before(p: Simulation) -> None:
        p.register()
        p.settle()
        if to:
            p.promote(1, to)

    return before


def _two_in_dev(p: Simulation) -> None:
    _one("dev")(p)
    p.register()
    p.settle()
    p.promote(2, "dev")


def _asking_for_prod(p: Simulation) -> None:
    _one("test")(p)
    p.measure(1, "test")
    p.settle()


def _registers(p: Simulation) -> None:
    p.register()
    p.settle()


def _is_found(p: Simulation) -> None:
    """Its event was lost: the sweep finds it."""
    p.register(tell=False)
    with _later(minutes=10):
        p.sweep()


def _approves(p: Simulation) -> None:
    p.decide(1, "dev")
    p.settle()


def _rejects(p: Simulation) -> None:
    p.decide(1, "dev", verdict=names.REJECTED)
    p.settle()


def _votes_twice(p: Simulation) -> None:
    p.decide(1, "prod", ANN)
    p.decide(1, "prod", CHO)
    p.settle()


def _breaks_the_glass(p: Simulation) -> None:
    """One person, where prod wants two."""
    p.decide(1, "prod", GIL, glass=True)
    p.settle()


def _measures(p: Simulation) -> None:
    p.measure(1, "dev")
    p.settle()


def _supersedes(p: Simulation) -> None:
    p.register()
    p.settle()


def _rolls_back(p: Simulation) -> None:
    p.roll_back("dev", to=1)
    p.settle()


def _revokes(p: Simulation) -> None:
    p.revoke(2)
    p.settle()


def _expires(p: Simulation) -> None:
    with _later(hours=80):
        p.sweep()


def _is_hashed(p: Simulation) -> None:
    """By a job; what came of it is found by its event, or by the sweep."""
    p.register()
    p.settle()
    with _later(minutes=10):
        p.sweep()


def _is_reminded(p: Simulation) -> None:
    with _later(hours=40):
        p.sweep()


def _asks_again(p: Simulation) -> None:
    p.ask_again(1, "dev")
    p.settle()


def _rejected(p: Simulation) -> None:
    _one("")(p)
    p.decide(1, "dev", verdict=names.REJECTED)
    p.settle()


def _is_adopted(p: Simulation) -> None:
    p.adopt(1, "test")
    p.settle()


def _fails_to_run(p: Simulation) -> None:
    """The artifact is no longer what was approved: its pipeline refuses it, and says so."""
    p.fail(1, "dev", "the artifact is not what was approved", broken=True)
    p.settle()


def _drifts(p: Simulation) -> None:
    """Its approvers are asked whether to go back, and one retraining begins."""
    p.measure(1, "dev", drift=0.4)
    p.settle()


def _is_anchored(p: Simulation) -> None:
    """The day's verification; where it broke off, the next one does it."""
    for _ in range(2):
        p.asynchronous.append(("verify", {}, 0))
        p.settle()


def _is_bypassed(p: Simulation) -> None:
    with _later(minutes=10):
        p.flip(1, names.APPROVED)
        p.settle()


JOURNEYS = (
    Journey("register", _nothing, _registers),
    Journey("lost event", _nothing, _is_found),
    Journey("approve", _one(""), _approves),
    Journey("reject", _one(""), _rejects),
    Journey("quorum", _asking_for_prod, _votes_twice),
    Journey("break glass", _asking_for_prod, _breaks_the_glass),
    Journey("inference", _one("dev"), _measures),
    Journey("supersede", _one(""), _supersedes),
    Journey("roll back", _two_in_dev, _rolls_back),
    Journey("revoke", _two_in_dev, _revokes),
    Journey("expire", _one(""), _expires),
    Journey("bypass", _one(""), _is_bypassed),
    Journey("hash", _nothing, _is_hashed, hash_up_to_gb=0.0),
    Journey("remind", _one(""), _is_reminded),
    Journey("ask again", _rejected, _asks_again),
    Journey("adopt", _one(""), _is_adopted),
    Journey("drift", _one("dev"), _drifts),
    Journey("anchor", _one("dev"), _is_anchored),
    Journey("broken", _one("dev"), _fails_to_run),
)


@dataclass(frozen=True)
class Outcome:
    """The result of a fault; `problems` is empty if the service survived it."""

    journey: str
    at: int
    mode: Mode
    call: str
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Reference:
    """A journey without faults: its calls, its story in the ledger, its mails, and the jobs that it began."""

    calls: tuple[str, ...]
    story: tuple[Any, ...]
    mails: int
    outside: dict[str, int]
    problems: tuple[str, ...]


def without_faults(journey: Journey, p: Simulation) -> Reference:
    p.calls.clear()
    journey.act(p)
    calls = tuple(p.calls)
    _come_round(p)
    problems = [*p.differences(), *p.doubled_mails(), *map(str, p.dead), *map(str, p.undelivered)]
    return Reference(calls, tuple(p.story()), len(p.mails), p.outside(), tuple(problems))


def harmed(journey: Journey, p: Simulation, at: int, mode: Mode, reference: Reference) -> Outcome:
    """The same with one call failing, everything redelivered, and what is then not as it should be."""
    p.fault = Fault(at, mode)
    journey.act(p)
    call, p.fault = p.fault.hit, None
    _come_round(p)
    problems = p.differences()
    if tuple(p.story()) != reference.story:
        problems.append(f"the ledger tells another story: {p.story()}")
    if len(set(p.mails)) != reference.mails:
        problems.append(f"{len(set(p.mails))} mails rather than {reference.mails}")
    if p.outside() != reference.outside:
        problems.append(f"{p.outside()} rather than {reference.outside}")
    # The one documented case: SES took the mail, and nobody heard of it, or lived to write it down.
    allowed = (call, mode) in {
        ("sesv2:SendEmail", "killed after"),
        ("sesv2:SendEmail", "answer lost"),
        ("dynamodb:PutItem", "killed before"),
        ("dynamodb:PutItem", "throttled"),
    }
    if p.doubled_mails() and not allowed:
        problems.append(f"mailed twice: {p.doubled_mails()}")
    problems += [f"set aside: {message.body}" for message in p.dead]
    problems += [f"undelivered: {module}" for module, _ in p.undelivered]
    return Outcome(journey.name, at, mode, call, tuple(problems))


def every_fault(folder: Path, journeys: Sequence[Journey] = JOURNEYS, *, step: int = 1) -> Iterator[Outcome]:
    """Each call of each journey failing once in each mode; only every `step`-th for a sample.

    What comes before is done once a journey; each fault then happens in a process of its own, forked from there.
    """
    with simulation(folder) as p:
        # Templates compiled and service models read here are so in every child.
        _one("dev")(p)
    count = 0
    for journey in journeys:
        with simulation(folder, hash_up_to_gb=journey.hash_up_to_gb) as p:
            journey.before(p)
            reference = in_child(partial(without_faults, journey, p))
            assert not reference.problems, (journey.name, reference.problems)
            faults = [(at, mode) for at in range(len(reference.calls)) for mode in MODES]
            chosen = [fault for number, fault in enumerate(faults, count) if number % step == 0]
            count += len(faults)
            for at, mode in chosen:
                yield in_child(partial(harmed, journey, p, at, mode, reference))


def in_child(work: Callable[[], Result]) -> Result:
    """The result of `work` done in a forked process, which leaves no trace in this one."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            answer = pickle.dumps(work())
        except BaseException:  # noqa: BLE001 - whatever it was has to be seen in the parent
            answer = pickle.dumps(RuntimeError(traceback.format_exc()))
        with os.fdopen(writing, "wb") as out:
            out.write(answer)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as found:
        answer = found.read()
    os.waitpid(child, 0)
    result = pickle.loads(answer)
    if isinstance(result, RuntimeError):
        raise result
    return cast("Result", result)


def _come_round(p: Simulation) -> None:
    """Run the schedules, and the one command that an operator has."""
    p.settle()
    p.redrive()
