"""Record a ledger of every journey, for tests/ledgers/{release}/: `python -m tests.ledgers.record 0.1.0`.

A release's recording is made once and never again: tests/rules/test_ledgers.py holds every later release to it. Events and their
hashes come out the same each time; signatures don't, and the key that made them is thrown away.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from promotion import names
from promotion.config.loading import parse
from promotion.domain.model import Container, EndpointState
from promotion.domain.people import SYSTEM, Authentication
from promotion.ledger import decision_export, payloads
from promotion.ledger.append import append
from promotion.ledger.events import happened
from promotion.workflows import decisions, drift, endpoints, operations, runs
from tests.fakes import ANN, CONFIG_TEXT, DEE, GIL, GROUP, OPERATOR, FakeService, a_package, a_registration, a_run

FOLDER = Path(__file__).parent
CONFIG = parse(CONFIG_TEXT + "[advanced.drift]\nlargest_psi = 0.25\nmin_records = 10\n")


def every_journey() -> FakeService:
    """One group's life: each kind of event at least once."""
    fake = FakeService(CONFIG)
    fake.promote(1)
    fake.project()
    _hashed_later(fake)
    fake.promote(3)
    _measured(fake)
    fake.later(minutes=5)
    fake.roll_back("prod", 1)
    fake.register(4, rouge=0.9)
    fake.decide(4, "dev", ANN, names.REJECTED, reason="Biased on names.")
    decisions.ask_again(fake.asked(4, "dev"), OPERATOR, "Names are masked now.", context=fake.context)
    fake.later(hours=40)
    decisions.keep_time(fake.view().environment("dev"), context=fake.context)
    fake.later(hours=40)
    decisions.keep_time(fake.view().environment("dev"), context=fake.context)
    fake.register(5, rouge=0.9)
    fake.register(6, rouge=0.9)
    fake.decide(6, "dev", GIL, breaking_glass=True, reason="The old one is on fire.")
    operations.record_bypass(GROUP, 6, names.REJECTED, "arn:aws:iam::123456789012:user/mallory", context=fake.context)
    fake.revoke(6)
    _what_the_format_has_ready(fake)
    _in_registry(fake, a_package(1, "adopted").arn)
    operations.adopt(a_package(1, "adopted"), "prod", OPERATOR, "It served before.", context=fake.context)
    fake.config = parse(CONFIG_TEXT.replace("quorum = 2", "quorum = 1"))
    fake.later(minutes=5)
    fake.roll_back("dev", 1)
    for group in (GROUP, "adopted"):
        fake.project(group)
    return fake


def _in_registry(fake: FakeService, arn: str) -> None:
    fake.sagemaker.packages[arn] = {"ModelApprovalStatus": names.PENDING, "CustomerMetadataProperties": {}}


def _hashed_later(fake: FakeService) -> None:
    """Version 2, whose artifact is hashed by a job, and fails once."""
    hashed = a_package(2).containers
    bare = tuple(Container(image=each.image, model_data_url=each.model_data_url) for each in hashed)
    decisions.register(a_package(2, containers=bare, hashing=True), a_registration(), context=fake.context)
    _in_registry(fake, a_package(2).arn)
    fake.later(minutes=1)
    decisions.record_artifact(GROUP, 2, (), "the job was stopped.", context=fake.context, hashing=True)
    decisions.record_artifact(GROUP, 2, hashed, "", context=fake.context)


def _measured(fake: FakeService) -> None:
    """Runs that drift and fail, a monitor, a retraining, an endpoint."""
    fake.later(minutes=1)
    drifting = a_run("prod", run="drifts", drift={"length_psi": 0.4}, input_digest="ab" * 32, precision="float16")
    runs.record_inference(GROUP, 3, drifting, context=fake.context)
    runs.record_failure(GROUP, "prod", "broken", "The bytes are others.", broken=True, context=fake.context)
    drift.record_monitoring(GROUP, "prod", "monitor hourly", 2, "Two violations.", context=fake.context)
    drift.record_monitoring(GROUP, "prod", "monitor hourly", 0, "", context=fake.context)
    drift.record_retraining(GROUP, "prod", 3, "arn:pipeline", "arn:pipeline/execution/1", context=fake.context)
    seen = EndpointState(
        name="promotion-prod-summariser", status=names.ENDPOINT_FAILED, version=1, problem="no capacity"
    )
    endpoints.record_endpoint(GROUP, "prod", 3, seen, context=fake.context)


def _what_the_format_has_ready(fake: FakeService) -> None:
    """Kinds of the format that no journey of this release appends yet, and fields that it leaves empty."""
    fake.later(minutes=1)
    fake.register(7, rouge=0.9)
    asked = fake.asked(7, "dev")
    signed_in = Authentication(
        issuer="https://login.example.com/tenant/v2.0", subject="ann", names={"name": "Ann Adler"}, group="dev-approvers",
        issued_at=fake.now, auth_time=fake.now, acr="mfa", amr=("pwd", "otp"),
    )  # fmt: skip
    dee = msgspec.structs.replace(DEE.actor, authentication=signed_in)
    facts = [
        happened(payloads.RequestWithdrawn(request_id=asked, reason="Wrong data."), dee, version=7, environment="dev"),
        happened(payloads.PackageChanged(changes={"created_at": ("2026", "2027")}, by="mallory"), SYSTEM, version=7),
        happened(payloads.PackageRemoved(by="mallory"), SYSTEM, version=7),
        happened(payloads.SigningKeyChanged(before="old", after="new", signatures={"old": "bQ=="}), SYSTEM),
    ]
    append(GROUP, lambda view: facts, fake.context)


def document(fake: FakeService) -> dict[str, Any]:
    """All that an installation keeps, as plain data."""
    return {
        "items": {f"{group} {key}": item.decode() for (group, key), item in sorted(fake.ledger.items.items())},
        "parameters": dict(sorted(fake.ssm.values.items())),
        "registry": fake.sagemaker.packages,
        "heads": {group: fake.ledger.head(group).hash for group in (GROUP, "adopted")},
        "key_id": fake.signer.key_id,
        "public_key": fake.signer.public_key,
    }


def write(release: str) -> None:
    """Write the recording of a release, which must have none yet."""
    folder = FOLDER / release
    folder.mkdir(parents=True, exist_ok=True)
    fake = every_journey()
    with (folder / "ledger.json").open("x", encoding="utf-8") as file:
        json.dump(document(fake), file, indent=1, ensure_ascii=False)
    for asked in (f"{GROUP}:1:prod:1", f"{GROUP}:4:dev:1", f"{GROUP}:6:dev:1"):
        found = decision_export.write(decision_export.bundle(asked, fake.events()))
        (folder / f"{asked.replace(':', '-')}.decision.json").write_bytes(found)


if __name__ == "__main__":
    write(sys.argv[1])
