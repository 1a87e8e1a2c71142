"""A package's description, from each of its sources."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promotion.domain.gate_result import GateKind, GateResult
from promotion.domain.model import VersionState
from promotion.rendering.documents.card import card_sections, differences, made_by, package_document
from tests.rules import scenarios
from tests.rules.markup import Document
from tests.rules.scenario import CONFIG, Scenario, package, page

CARD = {
    "intended_uses": {
        "intended_uses": "Headlines for editors.",
        "risk_rating": "Low",
        "factors_affecting_model_efficiency": 3,
    },
    "additional_information": {"caveats_and_recommendations": "Not for names.\n<b>Never</b> unattended."},
    "training_details": {"training_job_details": {"training_datasets": ["s3://news/2026"]}},
}
READ = (
    ("Intended use", "Headlines for editors."),
    ("Limitations and caveats", "Not for names.\n<b>Never</b> unattended."),
    ("Risk rating", "Low"),
    ("Data set", "s3://news/2026"),
)


def card(content: Any) -> dict[str, Any]:
    return {
        "ModelCardContent": content if isinstance(content, str) else json.dumps(content),
        "ModelCardStatus": "Approved",
    }


def test_a_model_card_is_read_for_use_limits_risk_and_data() -> None:
    assert card_sections(card(CARD)) == READ


def test_a_model_card_is_shown_on_the_page() -> None:
    scenario = Scenario()
    scenario.registers(1, card=READ)
    words = Document(page("request", scenario.request("dev", 1))).words
    assert "Headlines for editors." in words
    assert "<b>Never</b> unattended." in words
    assert "No model card" not in words


@pytest.mark.parametrize("content", ["not JSON", "[]", "null", "3", '"text"', "[" * 50_000])
def test_a_model_card_that_cannot_be_read_is_said(content: str) -> None:
    assert "can’t be read" in card_sections(card(content))[0][1]


@pytest.mark.parametrize("attached", [None, {}, "text", {"ModelCardContent": ""}])
def test_without_a_model_card_there_are_no_sections(attached: Any) -> None:
    assert card_sections(attached) == ()


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
SECTIONS = st.sampled_from(
    ["intended_uses", "training_details", "additional_information", "training_job_details", "training_datasets"]
)


@given(st.dictionaries(SECTIONS, JSON | st.dictionaries(SECTIONS, JSON)))
def test_any_json_object_makes_a_card(content: dict[str, Any]) -> None:
    assert card_sections(card(content))


def test_aws_own_records_of_a_models_origin_are_lineage() -> None:
    given_ = made_by(
        {"CommitId": "abc", "GeneratedBy": "arn:job", "Repository": "https://git.example.com/news", "ProjectId": "p"}
    )
    found = package_document(package(1, metadata=given_), None, CONFIG.environment_names)["lineage"]
    assert {row["label"]: row["value"] for row in found if row["value"]} == {"Training job": "arn:job", "Code": "abc"}


def test_missing_fields_are_named() -> None:
    state = scenarios.nothing_known().view.version(1)
    gates = (
        GateResult(kind=GateKind.LICENCE, open=False, allowed=("mit",)),
        GateResult(kind=GateKind.ATTACHED, open=False, required="model_card"),
    )
    missing = package_document(state.package, None, CONFIG.environment_names, gates)["missing"]
    assert missing == ["licence", "model card"]
    assert package_document(state.package, None, CONFIG.environment_names)["missing"] == []


def test_the_services_own_fields_are_nobodys_metadata() -> None:
    metadata = {"dev": "Approved", "prod": "PendingManualApproval", "team": "news"}
    shown = package_document(package(1, metadata=metadata), None, CONFIG.environment_names)["metadata"]
    assert shown == {"team": "news"}


def test_differences_from_live_are_bytes_size_image_settings_and_metadata() -> None:
    live, candidate = VersionState(package=package(1)), VersionState(package=package(2))
    found = {
        row["what"]: (row["live"], row["candidate"]) for row in differences(candidate, live, CONFIG.environment_names)
    }
    assert found["Size"] == ("244 MB", "245 MB")
    assert found["training_data"] == ("news-2026-01", "news-2026-02")
    assert found["Artifact (SHA-256)"] == ("010101010101", "020202020202")
    assert differences(live, live, CONFIG.environment_names) == []
