"""Scenarios that pages and mails are tested on."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from promotion import names
from promotion.domain.metrics import evidence_of
from promotion.domain.model import EnvironmentState, Evidence
from promotion.domain.people import SYSTEM, Actor, Requester
from promotion.ledger.board_page import BoardPage
from promotion.ledger.events import NewEvent
from tests.rules.scenario import ANN, AUD, CHO, GIL, SAMPLES, Scenario, measured, page, picture, registered

HOSTILE = '"><script>alert(1)</script>\r\nBcc: eve@example.com\u2028\u202e' + "é" * 100_000
RETRAINING = "arn:aws:sagemaker:us-east-1:123456789012:pipeline/retrain-news"
APPLIED: dict[str, int] = dict.fromkeys(names.TARGETS, 10_000)
APPLYING: dict[str, int] = {**APPLIED, names.PARAMETERS: 0}


def first_request() -> Scenario:
    scenario = Scenario()
    scenario.registers(1)
    scenario.later(hours=2)
    return scenario


def open_gate() -> Scenario:
    """Version 1 is live in test, and version 2 asks to take its place."""
    scenario = Scenario()
    scenario.promotes(1, 0.64)
    scenario.decides("test", 1)
    scenario.later(days=3)
    scenario.promotes(2, 0.66)
    scenario.later(hours=2)
    return scenario


def shut_gate() -> Scenario:
    scenario = Scenario()
    scenario.promotes(1, 0.12)
    scenario.later(minutes=40)
    return scenario


def run_failed() -> Scenario:
    """Version 1 is live in dev, and the run that was to measure it there failed."""
    scenario = first_request()
    scenario.decides("dev", 1)
    scenario.later(hours=1)
    problem = "TransformJobFailed: AlgorithmError: the container ended, exit status 1: config.json is missing"
    scenario.runs(
        "dev", 1, replace(measured(0.5), run_id="dev-v1", status="Failed", problem=problem, metrics={}, counts={})
    )
    return scenario


def quorum() -> Scenario:
    """One of two people has approved version 1 for prod."""
    scenario = Scenario()
    scenario.promotes(1, 0.7, to="prod")
    scenario.later(hours=1)
    scenario.decides("prod", 1)
    scenario.later(hours=1)
    return scenario


def rejected() -> Scenario:
    scenario = first_request()
    scenario.decides("dev", 1, "Rejected", reason="חוזר על עצמו. 总结重复。 🙈")
    scenario.later(hours=1)
    return scenario


def expired() -> Scenario:
    scenario = first_request()
    scenario.later(hours=80)
    return scenario


def approved() -> Scenario:
    scenario = open_gate()
    scenario.decides("test", 2)
    scenario.later(minutes=1)
    return scenario


def undone() -> Scenario:
    """Version 2 went live in test, was rolled back, and then revoked."""
    scenario = approved()
    scenario.later(hours=3)
    scenario.rolls_back("test")
    scenario.later(hours=1)
    scenario.revokes(2)
    scenario.later(hours=1)
    return scenario


def nothing_known() -> Scenario:
    """A version without metrics, requester, metadata or a description."""
    scenario = Scenario()
    evidence = Evidence(source="registration", status="Missing", problem="no metrics were registered")
    scenario.registers(1, requester=None, description="", metadata={}, evidence=evidence)
    return scenario


def hostile() -> Scenario:
    scenario = Scenario()
    requester = Requester(
        actor=Actor(kind="requester", subject="dee@example.com", name=HOSTILE[:300]), declared_by="self"
    )
    evidence = replace(registered(0.5), task=HOSTILE, licence=HOSTILE, problem=HOSTILE, engine={"name": HOSTILE})
    scenario.registers(
        1,
        description=HOSTILE,
        requester=requester,
        metadata={f"key {n}": HOSTILE for n in range(40)},
        evidence=evidence,
    )
    return scenario


def in_trouble() -> Scenario:
    """Let problems occur on version 1, which is live in dev."""
    scenario = first_request()
    scenario.decides("dev", 1)
    scenario.later(days=1)
    scenario.runs(
        "dev",
        1,
        measured(
            0.65,
            run_id="a",
            status="Failed",
            problem="the container ran out of memory",
            metrics={},
            counts={},
            latency_ms={},
            throughput={},
            pictures=(),
        ),
    )

    def happens(kind: str, environment: str | None, **data: Any) -> None:
        scenario.later(hours=1)
        scenario.happens(NewEvent(kind=kind, actor=SYSTEM, version=1, environment=environment, data=data))

    happens(names.APPROVAL_BYPASSED, None, status="Rejected", by="user/mallory", expected="Approved", reverted=True)
    happens(names.DRIFT_DETECTED, "dev", drift={"length_psi": 0.41}, retraining=RETRAINING)
    happens(names.RETRAINING_STARTED, "dev", execution=f"{RETRAINING}/execution/abc123def456")
    happens(
        names.ENDPOINT_CHANGED, "dev", status="Failed", endpoint="promotion-dev-news-summariser", problem="no capacity"
    )
    happens(names.INTEGRITY_BROKEN, "dev", problem="model.tar.gz has another SHA-256 than was approved")
    return scenario


def drifting() -> Scenario:
    """Version 2, live in test after version 1, sees other input than it was judged on."""
    scenario = approved()
    scenario.later(days=2)
    said = "The largest population stability index of the inputs is 0.41; the bound is 0.25."
    data = {
        "drift": {"length_psi": 0.41, "vocabulary_psi": 0.3},
        "bound": 0.25,
        "reason": said,
        "retraining": RETRAINING,
    }
    scenario.happens(NewEvent(kind=names.DRIFT_DETECTED, actor=SYSTEM, version=2, environment="test", data=data))
    return scenario


def classifier() -> Scenario:
    """A classifier with its curve and its matrix as registered; version 1 is live, 2 is asked for."""
    scenario = Scenario()
    for version, bend in ((1, 2.0), (2, 4.0)):
        scenario.registers(version, evidence=classified(bend))
        if version == 1:
            scenario.decides("dev", 1)
            scenario.later(hours=2)
    return scenario


def classified(bend: float) -> Evidence:
    """Evidence in the form that SageMaker's evaluation and Model Monitor write."""
    false = [step / 100 for step in range(101)]
    report = {
        "binary_classification_metrics": {
            "auc": {"value": bend / (bend + 1), "standard_deviation": "NaN"},
            "accuracy": {"value": 0.91, "standard_deviation": "NaN"},
            "confusion_matrix": {"0": {"0": 1812, "1": 96}, "1": {"0": 84, "1": 208}},
            "receiver_operating_characteristic_curve": {
                "false_positive_rates": false,
                "true_positive_rates": [1 - (1 - rate) ** bend for rate in false],
            },
        }
    }
    return evidence_of(report, source="registration", metrics_uri="s3://promotion-models/news/evaluation.json")


def middle_page(scenario: Scenario) -> BoardPage:
    """A page of the board between others, with the longest names that there are."""
    names = ["a" * 63, f"b{'-summariser' * 6}"[:63], scenario.group]
    others = [
        EnvironmentState(group=name, name="dev", live=3, live_since=scenario.now, live_by=("Ann Adler",))
        for name in names[:2]
    ]
    states = (*others, *scenario.view.environments.values())
    return BoardPage(states=states, first=names[0], last=names[-1], earlier=True, later=True)


def pages() -> dict[str, str]:
    """Every page in every state that looks different, by name."""
    second, shut, glass, undo = open_gate(), shut_gate(), shut_gate(), undone()
    done = approved()
    in_dev = done.view.environment("dev").live_sequence
    before = {**APPLIED, names.PARAMETERS: in_dev}
    slices = {"region": {"north": {"rougeL": {"value": 0.61, "n": 80}}}}
    shown: dict[str, Any] = {"samples": SAMPLES, "slices": slices, "picture": picture}
    message = {
        "title": "This link is not one of ours",
        "text": "It was cut short.\nOpen it from the mail.",
        "link": None,
    }
    refused = shut.request("test", 1) | {"problem": "reason: say why, in a sentence.", "reason": "<typed>"}
    return {
        "request-first": page("request", first_request().request("dev", 1)),
        "request-classifier": page("request", classifier().request("dev", 2)),
        "request-open": page("request", second.request("test", 2, **shown)),
        "request-shut": page("request", shut.request("test", 1)),
        "request-run-failed": page("request", run_failed().request("test", 1)),
        "request-refused": page("request", refused),
        "request-auditor": page("request", second.request("test", 2, AUD, **shown), AUD),
        "request-glass": page("request", glass.request("test", 1, GIL), GIL),
        "request-quorum": page("request", quorum().request("prod", 1, CHO), CHO),
        "request-voted": page("request", quorum().request("prod", 1, ANN)),
        "request-applying": page("request", approved().request("test", 2, applied=APPLYING)),
        "model-applying": page("model", done.model(applied=before)),
        "version-applying": page("version", done.version(2, applied=before)),
        "board-applying": page("board", done.board(written=lambda groups: dict.fromkeys(groups, in_dev))),
        "request-applied": page("request", approved().request("test", 2, applied=APPLIED)),
        "request-rejected": page("request", rejected().request("dev", 1, applied=APPLIED)),
        "request-expired": page("request", expired().request("dev", 1)),
        "request-revoked": page("request", undo.request("test", 2, applied=APPLIED)),
        "request-nothing-known": page("request", nothing_known().request("dev", 1)),
        "request-hostile": page("request", hostile().request("dev", 1)),
        "board": page("board", second.board()),
        "board-empty": page("board", Scenario().board(AUD), AUD),
        "board-filtered": page("board", second.board(wanted="nothing like it")),
        "board-trouble": page("board", in_trouble().board()),
        "board-page": page("board", second.board(shown=middle_page(second))),
        "model": page("model", second.model()),
        "model-trouble": page("model", in_trouble().model()),
        "model-auditor": page("model", undo.model(AUD), AUD),
        "version": page("version", second.version(2)),
        "version-compared": page("version", second.version(2, with_=1)),
        "version-revoked": page("version", undo.version(2, AUD), AUD),
        "version-hostile": page("version", hostile().version(1)),
        "message": page("message", message),
    }
