"""A verification says nothing of what is only on its way, however busy the service is, and all that stays."""

from __future__ import annotations

import json
from typing import Any

import pytest

from promotion import names
from promotion.aws.ledger_table.checking import SETTLES_S, check
from promotion.config.loading import Config, parse
from tests.fakes import CONFIG, CONFIG_TEXT, GROUP, PREFIX, FakeService
from tests.loaded import Loaded

ARCHIVING = parse(f"{CONFIG_TEXT}\n[history]\nkeep_versions = 1\n")


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("config", [CONFIG, ARCHIVING], ids=["all stay", "one stays"])
def test_ten_verifications_under_load_find_nothing(seed: int, config: Config) -> None:
    loaded = Loaded(seed, config=config)
    found = [each for _ in range(10) for each in loaded.verify()]
    assert [each.difference.line for _, each in found] == []
    assert loaded.acts > 100, "there was load"
    archived = [name for name in loaded.fake.ssm.values if name.endswith("/archive")]
    assert len(archived) == (2 if config is ARCHIVING else 0)


@pytest.mark.parametrize("seed", range(5))
def test_a_lasting_difference_is_reported_by_each_verification_under_load(seed: int) -> None:
    loaded = Loaded(seed)
    loaded.fake.ssm.values[f"{PREFIX}/{GROUP}-0/canary/live"] = "{}"
    line = f"parameter {PREFIX}/{GROUP}-0/canary/live: expected nothing, found a value that nobody here wrote"
    assert [[each.difference.line for _, each in loaded.verify()] for _ in range(3)] == [[line]] * 3


def test_a_difference_that_no_projection_repairs_is_reported_while_one_is_due() -> None:
    fake = FakeService()
    fake.promote(1)
    fake.project()
    planted = f"{PREFIX}/{GROUP}/canary/live"
    fake.ssm.values[planted] = "{}"
    fake.promote(2, to="dev")
    lines, _ = settled(fake)
    assert f"parameter {planted}: expected nothing, found a value that nobody here wrote" in lines
    assert not [line for line in lines if "/versions/2" in line], "it is on its way"


def settled(fake: FakeService, *, during: Any = None) -> tuple[list[str], list[float]]:
    still, waited = Loaded(0, groups=0, busy=0.0), list[float]()
    still.fake, still.groups = fake, [GROUP]

    def pause(seconds: float) -> None:
        waited.append(seconds)
        if during is not None:
            during(len(waited))

    found = check(still.installation(), GROUP, pause=pause)
    return [each.difference.line for _, differences in found for each in differences], waited


def test_a_verification_without_differences_does_not_wait() -> None:
    fake = FakeService()
    fake.promote(1)
    fake.project()
    assert settled(fake) == ([], [])


def test_a_change_projected_meanwhile_is_no_difference() -> None:
    fake = FakeService()
    fake.promote(1)
    lines, waited = settled(fake, during=lambda look: fake.project() if look == 2 else None)
    assert (lines, waited) == ([], list(SETTLES_S[:2]))


def test_a_change_that_is_never_projected_is_reported_after_all_pauses() -> None:
    fake = FakeService()
    fake.promote(1)
    lines, waited = settled(fake)
    assert [line.split(":")[0] for line in lines] == [f"projection {GROUP} {target}" for target in names.TARGETS]
    assert waited == list(SETTLES_S)


def test_a_difference_where_nothing_moves_is_told_after_the_first_pause() -> None:
    fake = FakeService()
    fake.promote(1)
    fake.project()
    record = json.loads(fake.ssm.values[f"{PREFIX}/{GROUP}/prod/live"])
    fake.ssm.values[f"{PREFIX}/{GROUP}/prod/live"] = json.dumps({**record, "approved_by": ["eve"]})
    lines, waited = settled(fake)
    assert lines == [
        f"parameter {PREFIX}/{GROUP}/prod/live: expected v1 of event 14, found approved_by edited, and a signature that "
        "doesn't hold"
    ]
    assert waited == [SETTLES_S[0]]
