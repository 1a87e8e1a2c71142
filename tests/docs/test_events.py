"""Each published event has a schema and a sample, and what the publisher makes is what the schema says."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from lambdas.handlers.on_inference_completed import RunReport
from promotion import names
from promotion.aws.messages.published_events import DETAILS
from promotion.aws.messages.publisher import detail
from promotion.domain.model import Evidence, Head, Package
from promotion.domain.people import SYSTEM
from promotion.ledger.events import Event, NewEvent, chained
from promotion.ledger.fold import evolve
from promotion.ledger.snapshot import GroupSnapshot
from tools.write_event_schemas import page, path

EVENTS = Path(__file__).parents[2] / "docs" / "events"
NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
REQUEST = {"attempt": 1, "expires_at": NOW, "evidence": Evidence(source="registration"), "gates": ()}
FACTS: dict[str, dict[str, Any]] = {
    names.APPROVAL_REQUESTED: REQUEST,
    names.DECISION_RECORDED: {"verdict": "Approved", "reason": "good", "request_id": "g:1:dev:1", "broke_glass": False},
    names.MODEL_PROMOTED: {"request_id": "g:1:dev:1", "approved_by": ["Ann"], "replaces": None, "broke_glass": False},
    names.MODEL_ROLLED_BACK: {"from_version": 2, "reason": "bad"},
    names.MODEL_REVOKED: {"reason": "bad", "falls_back": {"dev": None}},
    names.REQUEST_EXPIRED: {"request_id": "g:1:dev:1"},
    names.REQUEST_SUPERSEDED: {"request_id": "g:1:dev:1", "by": "g:2:dev:1"},
    names.REQUEST_WITHDRAWN: {"request_id": "g:1:dev:1", "reason": "Its data was wrong."},
    names.APPROVAL_BYPASSED: {"status": "Approved", "by": "arn:aws:iam::123456789012:user/x", "reverted": True},
    names.INFERENCE_COMPLETED: {
        "evidence": Evidence(source="inference", environment="dev", run_id="r"),
        "status": "Completed",
        "run_id": "r",
    },
    names.DRIFT_DETECTED: {
        "run_id": "r",
        "source": names.INFERENCE_SOURCE,
        "drift": {"length_psi": 0.4},
        "bound": 0.25,
        "reason": "The largest index is 0.4.",
        "retraining": "arn:aws:sagemaker:eu-west-1:123456789012:pipeline/retrain",
    },
    names.ENDPOINT_CHANGED: {
        "endpoint": "promotion-dev-g",
        "status": names.ENDPOINT_FAILED,
        "serves": 2,
        "problem": "never healthy",
        "config": "c",
    },
}
WITHOUT_ENVIRONMENT = {names.MODEL_REVOKED, names.APPROVAL_BYPASSED}


def slug(kind: str) -> str:
    return kind.lower().replace(" ", "-")


def document(name: str) -> Any:
    return json.loads((EVENTS / name).read_text(encoding="utf-8"))


def published(kind: str) -> dict[str, Any]:
    """The detail of an event of a kind, as the ledger and the publisher make it."""
    package = Package(
        group="g", version=1, arn="arn:aws:sagemaker:eu-west-1:123456789012:model-package/g/1", containers=()
    )
    facts = [
        NewEvent(
            kind=names.MODEL_REGISTERED, actor=SYSTEM, version=1, data={"package": package, "environments": ["dev"]}
        ),
        NewEvent(kind=names.APPROVAL_REQUESTED, actor=SYSTEM, version=1, environment="dev", data=REQUEST),
        NewEvent(
            kind=kind,
            actor=SYSTEM,
            version=1,
            environment=None if kind in WITHOUT_ENVIRONMENT else "dev",
            data=FACTS[kind],
        ),
    ]
    view = GroupSnapshot(Head(group="g"))
    events: list[Event] = chained(view.head, facts, time=NOW, policy_digest="p")
    for event in events:
        evolve(view, event)
    found = detail(view, events[-1])
    assert found is not None
    return found


@pytest.mark.parametrize("kind", names.PUBLISHED)
def test_the_sample_is_what_the_schema_says(kind: str) -> None:
    sample = document(f"{slug(kind)}.sample.json")
    assert (sample["source"], sample["detail-type"]) == (names.EVENT_SOURCE, kind)
    jsonschema.validate(sample["detail"], document(f"{slug(kind)}.schema.json"))


@pytest.mark.parametrize("kind", names.PUBLISHED)
def test_published_events_match_their_schema(kind: str) -> None:
    jsonschema.validate(published(kind), document(f"{slug(kind)}.schema.json"))


@pytest.mark.parametrize("kind", names.PUBLISHED)
def test_a_field_that_the_schema_asks_for_can_be_missed(kind: str) -> None:
    found = published(kind)
    del found["event_id"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(found, document(f"{slug(kind)}.schema.json"))


def test_the_pages_list_every_published_event() -> None:
    page = (EVENTS / "README.md").read_text(encoding="utf-8")
    assert all(f"| `{kind}` |" in page for kind in names.PUBLISHED)
    assert {path.name for path in EVENTS.glob("*.schema.json")} == {
        *(f"{slug(kind)}.schema.json" for kind in names.PUBLISHED),
        "pipeline-report.schema.json",
    }


def test_a_pipelines_report_is_read_as_its_schema_says() -> None:
    sample = document("pipeline-report.sample.json")
    jsonschema.validate(sample["detail"], document("pipeline-report.schema.json"))
    required = {
        name
        for name in RunReport.__struct_fields__
        if name not in ("model_package_version", "metrics_uri", "reason", "error", "request")
    }
    assert set(document("pipeline-report.schema.json")["required"]) == required


def test_the_schemas_are_those_of_the_types() -> None:
    assert list(DETAILS) == list(names.PUBLISHED)
    for kind in DETAILS:
        assert path(kind).read_text(encoding="utf-8") == page(kind), "run: python -m tools.write_event_schemas"
