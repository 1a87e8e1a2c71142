"""Every call of every journey fails once: here a fixed sample of all cases, in `make faults` each of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.journeys import JOURNEYS, Journey, every_fault, harmed, in_child, without_faults
from tests.faults.simulation import Simulation, simulation

# A prime, so that the sample comes by every mode and all over every journey.
SAMPLE = 97


def test_a_sample_of_all_faults_is_survived(tmp_path: Path) -> None:
    outcomes = list(every_fault(tmp_path, step=SAMPLE))
    assert {outcome.journey for outcome in outcomes} == {journey.name for journey in JOURNEYS}
    assert all(outcome.call for outcome in outcomes), "each fault hit a call"
    assert [outcome for outcome in outcomes if outcome.problems] == []


def test_the_harness_sees_what_is_wrong(tmp_path: Path) -> None:
    """A harness that finds nothing must be able to: here what was lost is not redelivered."""
    [rolls_back] = [journey for journey in JOURNEYS if journey.name == "roll back"]

    def act(p: Simulation) -> None:
        assert p.roll_back("dev", to=1) == 303
        p.stream.clear()
        setattr(p, "redrive", lambda: None)  # noqa: B010 - nobody redrives

    lossy = Journey("lossy", rolls_back.before, act)
    with simulation(tmp_path) as p:
        lossy.before(p)
        reference = in_child(lambda: without_faults(rolls_back, p))
        outcome = in_child(lambda: harmed(lossy, p, 10_000, "killed before", reference))
    assert any("projection summariser parameters" in problem for problem in outcome.problems)
    assert any("mails rather than" in problem for problem in outcome.problems)


@pytest.mark.parametrize("journey", JOURNEYS, ids=lambda journey: journey.name)
def test_a_journey_makes_the_same_calls_each_time(tmp_path: Path, journey: Journey) -> None:
    """Else a fault by number would not be the same fault tomorrow."""
    with simulation(tmp_path) as p:
        journey.before(p)
        first, second = (in_child(lambda: without_faults(journey, p)) for _ in range(2))
    assert first.calls == second.calls
    assert first.problems == ()
