"""After production: what counts as drift, who hears of it, and when a retraining is started."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from promotion import names
from promotion.config.loading import Config, parse
from promotion.errors import Invalid
from promotion.ledger.append import Receipt
from promotion.rendering.mail import letters
from promotion.workflows.drift import record_monitoring, record_retraining
from promotion.workflows.runs import record_inference
from tests.fakes import ANN, CHO, CONFIG_TEXT, GROUP, FakeService, a_run
from tests.rules.scenario import LINKS

PIPELINE = "arn:aws:sagemaker:us-east-1:123456789012:pipeline/retrain-summariser"
SETTINGS = f"""
[advanced.drift]
largest_psi = 0.25
[advanced.drift.retraining."summ*"]
pipeline = "{PIPELINE}"
"""
MONITOR = "monitor summaries-hourly"


def configured(extra: str = SETTINGS) -> Config:
    return parse(CONFIG_TEXT + extra)


@pytest.fixture
def fake() -> FakeService:
    """Version 1 is live in prod, and drift of it starts a pipeline."""
    fake = FakeService(configured())
    fake.promote(1)
    return fake


def run(fake: FakeService, psi: float | None, *, version: int = 1, environment: str = "prod", **about: Any) -> Receipt:
    fake.later(hours=1)
    drift = {"length_psi": 0.01, "vocabulary_psi": psi} if psi is not None else {}
    evidence = a_run(environment, run=f"{environment}-{version}-{fake.now:%d%H%M%S}", drift=drift, **about)
    return record_inference(GROUP, version, evidence, context=fake.context)


def monitored(fake: FakeService, violations: int, source: str = MONITOR) -> Receipt:
    fake.later(hours=1)
    return record_monitoring(GROUP, "prod", source, violations, "3 violations.", context=fake.context)


def drifts(fake: FakeService) -> list[dict[str, Any]]:
    return [event.data for event in fake.events() if event.kind == names.DRIFT_DETECTED]


def test_a_run_above_the_bound_is_drift_and_starts_one_retraining(fake: FakeService) -> None:
    run(fake, 0.31)
    (found,) = drifts(fake)
    assert (found["retraining"], found["bound"], found["drift"]["vocabulary_psi"]) == (PIPELINE, 0.25, 0.31)
    assert found["reason"].startswith("The largest population stability index of the inputs is 0.31")
    assert fake.view().environment("prod").drift


@pytest.mark.parametrize("psi", [0.25, 0.1, None])
def test_a_value_at_the_bound_is_no_drift(fake: FakeService, psi: float | None) -> None:
    run(fake, psi)
    assert drifts(fake) == []
    assert not fake.view().environment("prod").drift


def test_every_further_run_of_the_same_episode_is_no_news(fake: FakeService) -> None:
    for _ in range(5):
        run(fake, 0.4)
    assert len(drifts(fake)) == 1
    assert fake.view().environment("prod").drift


def test_a_new_episode_is_told_but_starts_no_pipeline_within_the_day(fake: FakeService) -> None:
    run(fake, 0.4)
    run(fake, 0.1)
    assert not fake.view().environment("prod").drift
    run(fake, 0.4)
    assert [("retraining" in found) for found in drifts(fake)] == [True, False]
    assert drifts(fake)[1]["retraining_held"] == "the last one was started less than 24h ago"


def test_a_retraining_that_was_held_back_starts_once_nothing_holds_it(fake: FakeService) -> None:
    run(fake, 0.4)
    run(fake, 0.1)
    run(fake, 0.4)
    fake.later(days=2)
    run(fake, 0.4)
    run(fake, 0.4)
    assert [("retraining" in found) for found in drifts(fake)] == [True, False, True]


def test_a_newer_version_on_its_way_holds_the_retraining(fake: FakeService) -> None:
    fake.register(2)
    run(fake, 0.4)
    (found,) = drifts(fake)
    assert found["retraining_held"] == "version 2 is on its way"
    assert "retraining" not in found


def test_a_newer_version_that_was_turned_down_holds_nothing(fake: FakeService) -> None:
    fake.register(2)
    fake.decide(2, "dev", verdict=names.REJECTED)
    run(fake, 0.4)
    assert drifts(fake)[0]["retraining"] == PIPELINE


def test_a_newer_version_in_production_ends_the_episode(fake: FakeService) -> None:
    run(fake, 0.4)
    fake.promote(2)
    state = fake.view().environment("prod")
    assert (state.drift, state.drifting, state.drift_since) == (False, (), None)
    assert run(fake, 0.9, version=1).events[0].data.get("drifting") is None, "version 1 is not live any more"
    assert len(drifts(fake)) == 1


def test_only_watched_environments_drift(fake: FakeService) -> None:
    run(fake, 0.9, environment="test")
    assert drifts(fake) == []
    everywhere = FakeService(configured('\n[advanced.drift]\nenvironments = ["test", "prod"]\n'))
    everywhere.promote(1)
    run(everywhere, 0.9, environment="test")
    assert [event.environment for event in everywhere.events() if event.kind == names.DRIFT_DETECTED] == ["test"]


def test_without_a_bound_only_monitors_find_drift(fake: FakeService) -> None:
    fake.config = parse(CONFIG_TEXT.replace('groups = ["*"]', 'groups = ["*"]', 1) + SETTINGS.replace("0.25", "9.0"))
    run(fake, 5.0)
    assert drifts(fake) == []
    monitored(fake, 3)
    assert drifts(fake)[0]["violations"] == 3


def test_a_failed_run_says_nothing_about_drift(fake: FakeService) -> None:
    run(fake, 0.4)
    run(fake, None, status="Failed")
    assert fake.view().environment("prod").drift
    assert len(drifts(fake)) == 1


def test_drift_lasts_while_anybody_says_so(fake: FakeService) -> None:
    run(fake, 0.4)
    monitored(fake, 3)
    assert len(drifts(fake)) == 2, "another source is news"
    run(fake, 0.1)
    assert fake.view().environment("prod").drifting == (MONITOR,)
    assert monitored(fake, 2).note == "this drift is recorded already"
    ended = monitored(fake, 0)
    assert [event.kind for event in ended.events] == [names.DRIFT_ENDED]
    assert not fake.view().environment("prod").drift
    assert monitored(fake, 0).note == "there is no drift, as before"


def test_two_sources_of_one_episode_start_one_retraining(fake: FakeService) -> None:
    monitored(fake, 3)
    run(fake, 0.4)
    assert [("retraining" in found) for found in drifts(fake)] == [True, False]


def test_a_monitor_of_an_empty_environment_is_noted() -> None:
    fake = FakeService(configured())
    assert monitored(fake, 3).note == "nothing is live in prod"
    with pytest.raises(Invalid, match="no environment"):
        record_monitoring(GROUP, "nowhere", MONITOR, 1, "", context=fake.context)


def test_a_started_retraining_is_recorded_once(fake: FakeService) -> None:
    run(fake, 0.4)
    execution = f"{PIPELINE}/execution/abc"
    for _ in range(2):
        receipt = record_retraining(GROUP, "prod", 1, PIPELINE, execution, context=fake.context)
    assert receipt.note == "this retraining is recorded already"
    assert fake.view().environment("prod").retraining == execution
    assert fake.kinds().count(names.RETRAINING_STARTED) == 1


def test_the_chain_folds_to_the_same_states(fake: FakeService) -> None:
    run(fake, 0.4)
    monitored(fake, 3)
    record_retraining(GROUP, "prod", 1, PIPELINE, f"{PIPELINE}/execution/abc", context=fake.context)
    run(fake, 0.1)
    monitored(fake, 0)
    fake.now += timedelta(minutes=1)
    fake.project()
    assert fake.lines() == []


def test_the_loop_begins_again_with_the_retrained_version(fake: FakeService) -> None:
    run(fake, 0.4)
    fake.register(2)
    fake.decide(2, "dev")
    for name in ("dev", "test"):
        fake.measure(2, name)
        for person in (ANN, CHO)[: fake.config.environment("prod" if name == "test" else "test", GROUP).quorum]:
            fake.decide(2, "prod" if name == "test" else "test", person)
    assert fake.live("prod") == 2
    assert not fake.view().environment("prod").drift


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ('[advanced.drift]\nenvironments = ["moon"]', "no environment 'moon'"),
        ("[advanced.drift]\nlargest_psi = 0.0", "> 0"),
        ('[advanced.drift.retraining."*"]\npipeline = "retrain"', "no ARN"),
        (
            f'[advanced.drift.retraining."*"]\npipeline = "{PIPELINE}"\nparameters = {{ A = "{{who}}" }}',
            "nothing to fill in",
        ),
        (
            f'[advanced.drift.retraining."*"]\npipeline = "{PIPELINE}"\nparameters = {{ A = "{{" }}',
            "can't be filled in",
        ),
        (
            f'[advanced.drift.retraining."*"]\npipeline = "{PIPELINE}"\nparameters = {{ '
            + ", ".join(f'P{number} = "x"' for number in range(201))
            + " }",
            "SageMaker takes 200 parameters",
        ),
        (
            f'[advanced.drift.retraining."*"]\npipeline = "{PIPELINE}"\nagain_after = "soon"',
            "no duration|not a duration",
        ),
        ('[[advanced.drift.monitors]]\nschedule = "s"\ngroup = "g"\nenvironment = "moon"', "no environment 'moon'"),
        ('[[advanced.drift.monitors]]\nschedule = "s"\ngroup = "g*"\nenvironment = "prod"', "a monitor watches one"),
    ],
)
def test_a_wrong_setting_is_refused(settings: str, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        parse(f"{CONFIG_TEXT}\n{settings}\n")


def test_a_run_on_few_records_says_nothing_about_drift(fake: FakeService) -> None:
    receipt = run(fake, 4.0, counts={"records": 12, "errors": 0})
    assert receipt.events[0].data.get("drifting") is None
    assert drifts(fake) == []


def test_a_mail_says_why_no_retraining_was_started(fake: FakeService) -> None:
    fake.register(2)
    run(fake, 0.31)
    event = next(event for event in fake.events() if event.kind == names.DRIFT_DETECTED)
    (letter,) = letters(event, view=fake.view(), config=fake.config, links=LINKS)
    assert f"No retraining was started: {event.data['retraining_held']}." in letter.intro


def test_a_mail_names_the_columns_that_drift_most(fake: FakeService) -> None:
    drift = {f"column_{at}_psi": at / 100 for at in range(100)}
    record_inference(GROUP, 1, a_run("prod", run="prod-1-many", drift=drift), context=fake.context)
    event = next(event for event in fake.events() if event.kind == names.DRIFT_DETECTED)
    (letter,) = letters(event, view=fake.view(), config=fake.config, links=LINKS)
    assert "(PSI of column 99 0.99)" in letter.subject
    assert (
        "column 99 0.99, column 98 0.98, column 97 0.97, column 96 0.96 and column 95 0.95, the largest of 100"
        in letter.intro[1]
    )
