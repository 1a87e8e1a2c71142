"""A team's own evaluation: checked, kept beside the runs, counted as one, and shown as whose it is."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from lambdas.handlers import on_inference_completed
from lambdas.shared import reports
from promotion import names
from promotion.config.loading import parse
from promotion.domain.people import Actor
from promotion.errors import Invalid, Refused
from promotion.rendering.sentences import sentence
from promotion.workflows import runs
from tests.fakes import CONFIG_TEXT, GROUP, FakeService, a_run, as_client
from tests.rules.scenario import Scenario, measured, page

ARN = "arn:aws:sts::555555555555:assumed-role/evaluation/churn"
REPORTER = Actor(kind="operator", subject=ARN)
NOW = datetime(2026, 11, 20, 9, tzinfo=UTC)
PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 20


class Bucket:
    """Remembers what was put into it."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, ContentType: str) -> None:  # noqa: N803
        self.objects[f"s3://{Bucket}/{Key}"] = Body


def form(**changes: str) -> dict[str, str]:
    given = {"group": GROUP, "environment": "dev", "version": "1", "metrics": '{"auc": {"value": 0.91, "n": 4000}}'}
    return {**given, **changes}


def pictures(**files: bytes) -> str:
    return json.dumps({name.replace("_", "."): base64.b64encode(data).decode() for name, data in files.items()})


def report(fake: FakeService, version: int = 1, environment: str = "dev", **changes: Any) -> None:
    evidence = a_run(environment, run=f"report-{environment}-{version}", reporter=ARN, **changes)
    runs.record_inference(GROUP, version, evidence, context=fake.context, actor=REPORTER)


def test_a_report_counts_as_the_run_and_names_its_reporter() -> None:
    fake = FakeService()
    fake.promote(1, to="dev")
    report(fake)
    assert fake.status(1, "test") == names.PENDING
    assert fake.view().version(1).requests["test"].gates_open
    event = next(event for event in fake.events() if event.kind == names.INFERENCE_COMPLETED)
    assert event.actor == REPORTER
    assert sentence(event) == f"{ARN} reported an evaluation of v1 in dev"


def test_gates_judge_a_report() -> None:
    fake = FakeService()
    fake.promote(1, to="dev")
    report(fake, rouge=0.1)
    assert not fake.view().version(1).requests["test"].gates_open


@pytest.mark.parametrize("environment", ["test", "prod"])
def test_no_report_counts_where_the_version_is_not_approved(environment: str) -> None:
    fake = FakeService()
    fake.promote(1, to="dev")
    with pytest.raises(Refused, match=f"not approved for {environment}"):
        report(fake, environment=environment)


def test_no_report_brings_back_what_was_rolled_back_or_revoked() -> None:
    fake = FakeService()
    for version in (1, 2):
        fake.promote(version, to="dev")
    fake.roll_back("dev")
    with pytest.raises(Refused):
        report(fake, 2)
    fake.revoke(1)
    with pytest.raises(Refused):
        report(fake, 1)


def test_a_report_is_kept_below_its_group_and_environment_with_its_digest() -> None:
    bucket = Bucket()
    given = reports.Report.of(form(pictures=pictures(roc_png=PNG)))
    evidence = reports.keep(given, ARN, as_client(bucket), "evidence", NOW)
    folder = f"s3://evidence/{GROUP}/dev/{evidence.run_id}/score"
    assert bucket.objects == {f"{folder}/roc.png": PNG, f"{folder}/metrics.json": given.metrics}
    assert evidence.run_id.startswith("report-dev-v1-261120-090000-")
    assert (evidence.metrics["auc"].value, evidence.metrics["auc"].n) == (0.91, 4000)
    assert (evidence.reporter, evidence.pictures) == (ARN, (f"{folder}/roc.png",))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"metrics": "[]"}, "metrics"),
        ({"metrics": "{"}, "metrics"),
        ({"metrics": '{"a": "\\ud800"}'}, "metrics"),
        ({"metrics": '{"auc": "high"}'}, "metrics"),
        ({"metrics": '{"auc": 0.9, "model_package_version": 2}'}, "model_package_version"),
        ({"metrics": '{"auc": 0.9, "environment": "prod"}'}, "environment"),
        ({"metrics": '{"auc": 0.9, "model_package_group": "other"}'}, "model_package_group"),
        ({"version": "one"}, "version"),
        ({"pictures": pictures(roc_png=b"GIF89a")}, "pictures"),
        ({"pictures": pictures(roc_svg=PNG)}, "pictures"),
        ({"pictures": '{"../roc.png": ""}'}, "pictures"),
        ({"pictures": '{"roc.png": 7}'}, "pictures"),
        ({"pictures": pictures(**{f"p{i}_png": PNG for i in range(5)})}, "pictures"),
    ],
)
def test_an_invalid_report_is_refused_by_field_and_not_stored(changes: dict[str, str], field: str) -> None:
    bucket = Bucket()
    with pytest.raises(Invalid) as refused:
        reports.keep(reports.Report.of(form(**changes)), ARN, as_client(bucket), "evidence", NOW)
    assert refused.value.field == field
    assert bucket.objects == {}


@pytest.mark.parametrize(("reporter", "said"), [(ARN, ARN), ("555555555555", "account 555555555555")])
def test_page_and_mail_say_whose_numbers_they_are(reporter: str, said: str) -> None:
    scenario = Scenario()
    scenario.registers(1)
    scenario.decides("dev", 1)
    scenario.runs("dev", 1, measured(0.7, reporter=reporter))
    shown = page("request", scenario.request("test", 1))
    assert f"Reported for dev by {said}: no run of this service measured this." in shown
    assert "Measured by inference" not in shown
    assert f"reported by {said}" in page("version", scenario.version(1))
    mail = scenario.mails(names.APPROVAL_REQUESTED)[-1]
    assert f"Numbers reported by: {said}; not measured here" in " ".join(mail.text.split())


def event(**changes: Any) -> dict[str, Any]:
    detail: dict[str, Any] = {"environment": "dev", "run_id": "dev-v1-1", "status": "Completed"}
    detail |= {"model_package_group": GROUP}
    detail |= {"model_package_version": 1, "metrics_uri": f"s3://evidence/{GROUP}/dev/mine/score/metrics.json"}
    return {"id": "0f-1", "source": names.REPORT_SOURCE, "account": "555555555555", "detail": {**detail, **changes}}


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Run and reporter of what was read, in an installation that lets somebody report."""
    found: list[tuple[str, str]] = []

    def read(given: on_inference_completed.RunReport, reporter: str) -> None:
        found.append((given.run_id, reporter))
        raise Invalid("metrics_uri", "there is nothing here")

    config = parse(f'{CONFIG_TEXT}\n[advanced.inference]\nreporters = ["{ARN}"]')
    monkeypatch.setattr(on_inference_completed, "config", lambda: config)
    monkeypatch.setattr(on_inference_completed, "read_evidence", read)
    return found


def test_an_event_of_a_reporter_is_shown_as_its_account_and_takes_no_runs_name(heard: list[tuple[str, str]]) -> None:
    on_inference_completed.handler(event(), None)
    on_inference_completed.handler({**event(), "source": names.INFERENCE_SOURCE}, None)
    assert heard == [("report-0f-1", "555555555555"), ("dev-v1-1", "")]


@pytest.mark.parametrize("changes", [{"status": "Failed"}, {"model_package_version": None}])
def test_a_reporter_reports_no_failure_of_our_machines(heard: list[tuple[str, str]], changes: dict[str, Any]) -> None:
    assert "refused" in on_inference_completed.handler(event(**changes), None)
    assert heard == []


def test_without_reporters_no_event_of_theirs_is_taken(
    heard: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_inference_completed, "config", lambda: parse(CONFIG_TEXT))
    assert "names nobody" in str(on_inference_completed.handler(event(), None)["refused"])
    assert heard == []


def test_configured_reporters_are_part_of_the_policy() -> None:
    plain = parse(CONFIG_TEXT)
    with_reporters = replace(plain, inference=replace(plain.inference, reporters=(ARN,)))
    assert "reporters" not in plain.policy()
    assert with_reporters.policy()["reporters"] == [ARN]
