"""Decisions as electronic signatures."""

from __future__ import annotations

import hashlib
from typing import Any

from msgspec.structs import replace

from promotion import names
from promotion.config.loading import Config
from promotion.config.settings import Decision
from promotion.domain import policy, signing
from promotion.formatting import iso
from tests.fakes import signed_in
from tests.rules.scenario import ANN, CONFIG, GROUP, Scenario


def signing_config() -> Config:
    first, *others = CONFIG.environments
    return replace(CONFIG, environments=(replace(first, signature=True), *others))


def decision(scenario: Scenario, verdict: str = "Approved") -> Any:
    scenario.registers(1)
    scenario.decides("dev", 1, verdict, by=signed_in(ANN, scenario.context.now))
    return next(e for e in scenario.context.ledger.events(GROUP) if e.kind == names.DECISION_RECORDED)


def test_a_signed_decision_records_name_role_meaning_time_and_what_was_shown() -> None:
    scenario = Scenario(signing_config())
    event = decision(scenario)
    view = scenario.view
    request = view.version(1).requests["dev"]
    assert event.data["signature"] == {
        "name": ANN.name,
        "role": "ML approvers, dev",
        "meaning": f"I approve {GROUP} version 1 for use in dev, having reviewed the evidence.",
        "signed_at": iso(event.time),
        "shown_sha256": policy.shown_digest(view.version(1), request),
    }
    assert len(bytes.fromhex(event.data["signature"]["shown_sha256"])) == hashlib.sha256().digest_size


def test_a_rejection_means_a_rejection() -> None:
    assert decision(Scenario(signing_config()), "Rejected").data["signature"]["meaning"].startswith("I reject")


def test_elsewhere_a_decision_is_no_signature() -> None:
    assert "signature" not in decision(Scenario()).data


def test_every_decision_records_how_its_person_was_authenticated_and_by_which_group() -> None:
    scenario = Scenario()
    how = decision(scenario).actor.authentication
    assert (how.issuer, how.subject, how.group) == ("https://login.example.com", ANN.subject, "ml-dev")
    assert how.issued_at == scenario.context.now


def test_each_signature_wants_credentials_entered_again() -> None:
    rules = signing_config().environments[0]
    assert signing.required_of(rules) == Decision(reauthenticate=True, fresh_within="0s")
    assert signing.required_of(CONFIG.environments[0]) == Decision()


def test_the_page_shows_what_is_signed() -> None:
    scenario = Scenario(signing_config())
    scenario.registers(1)
    shown = scenario.request("dev", 1, ANN)["signature"]
    assert shown["name"] == ANN.name
    assert shown["approve"].startswith("I approve")
    assert shown["reject"].startswith("I reject")
    plain = Scenario()
    plain.registers(1)
    assert plain.request("dev", 1, ANN)["signature"] is None
