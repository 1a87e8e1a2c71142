"""Each kind of tampering, with the line that `verify` prints for it. docs/security.md has the same table."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from promotion import names
from promotion.client.live_record import signed_bytes
from promotion.domain.canonical_json import canonical
from promotion.ledger.events import NewEvent, chained, head_after
from promotion.ledger.parameter_documents import dump
from promotion.ledger.verify import Anchor
from tests.fakes import ANN, GROUP, PREFIX, FakeService
from tests.memory import LocalSigner

LIVE = f"{PREFIX}/{GROUP}/prod/live"
VERSION = f"{PREFIX}/{GROUP}/versions/1"


@pytest.fixture
def fake() -> FakeService:
    """Version 2 live everywhere, version 1 before it, everything projected and anchored."""
    fake = FakeService()
    fake.promote(1)
    fake.project()
    fake.anchors.append(anchor(fake))
    fake.promote(2)
    fake.project()
    assert fake.lines() == []
    return fake


def anchor(fake: FakeService) -> Anchor:
    head = fake.ledger.head(GROUP)
    return Anchor(name=f"heads/{GROUP}/{head.sequence:010d}-{head.hash}.json", sequence=head.sequence, hash=head.hash)


def record(fake: FakeService, name: str = LIVE) -> dict[str, Any]:
    return dict(json.loads(fake.ssm.values[name]))


def short(fake: FakeService, sequence: int) -> str:
    return fake.events()[sequence - 1].hash[:12]


def edit_parameter(fake: FakeService) -> str:
    changed = record(fake)
    changed["containers"][0]["model_data_url"] = "s3://elsewhere/model.tar.gz"
    fake.ssm.values[LIVE] = dump(changed)
    return f"parameter {LIVE}: expected v2 of event 27, found containers edited, and a signature that doesn't hold"


def delete_parameter(fake: FakeService) -> str:
    del fake.ssm.values[LIVE]
    return f"parameter {LIVE}: expected v2 of event 27, found nothing"


def put_another_versions_record(fake: FakeService) -> str:
    changed = record(fake)
    changed["model_package_version"] = 1
    fake.ssm.values[LIVE] = dump(changed)
    return f"parameter {LIVE}: expected v2 of event 27, found model_package_version edited, and a signature that doesn't hold"


def put_another_environments_record(fake: FakeService) -> str:
    fake.ssm.values[LIVE] = fake.ssm.values[f"{PREFIX}/{GROUP}/dev/live"]
    return f"parameter {LIVE}: expected v2 of event 27, found the record of {GROUP} in dev"


def put_an_older_record_back(fake: FakeService) -> str:
    older = FakeService()
    older.signer = fake.signer
    older.promote(1)
    older.project()
    fake.ssm.values[LIVE] = older.ssm.values[LIVE]
    return (
        f"parameter {LIVE}: expected v2 of event 27, found v1 of event 14, signed: an older or another record put back"
    )


def sign_with_another_key(fake: FakeService) -> str:
    other = LocalSigner("arn:aws:kms:us-east-1:123456789012:key/of-another-service")
    changed = record(fake) | {"key_id": other.key_id}
    changed["signature"] = other.sign_text(signed_bytes(changed))
    fake.ssm.values[LIVE] = dump(changed)
    return (
        f"parameter {LIVE}: expected a signature of {fake.signer.key_id}, found one of {other.key_id}: "
        f"do two services share the prefix {PREFIX}?"
    )


def edit_the_signature_alone(fake: FakeService) -> str:
    changed = record(fake)
    changed["signature"] = base64.b64encode(b"nothing of the kind").decode()
    fake.ssm.values[LIVE] = dump(changed)
    return f"parameter {LIVE}: expected v2 of event 27, found nothing edited, and a signature that doesn't hold"


def write_no_record_at_all(fake: FakeService) -> str:
    fake.ssm.values[LIVE] = "v1"
    return f"parameter {LIVE}: expected v2 of event 27, found something that is no record"


def put_a_version_in_the_place_of_a_live_record(fake: FakeService) -> str:
    fake.ssm.values[LIVE] = fake.ssm.values[VERSION]
    return f"parameter {LIVE}: expected v2 of event 27, found something that is no record"


def put_another_versions_parameter(fake: FakeService) -> str:
    fake.ssm.values[VERSION] = fake.ssm.values[f"{PREFIX}/{GROUP}/versions/2"]
    return f"parameter {VERSION} model_package_version: expected 1, found 2"


def write_no_version_at_all(fake: FakeService) -> str:
    fake.ssm.values[VERSION] = "v1"
    own = sum(event.version == 1 for event in fake.events())
    return f"parameter {VERSION}: expected v1 with {own} events, found something that is no record"


def edit_the_number_of_the_last_event(fake: FakeService) -> str:
    changed = record(fake, VERSION)
    last, changed["last"] = changed["last"], 3
    fake.ssm.values[VERSION] = dump(changed)
    return f"parameter {VERSION} last: expected {last}, found 3"


def edit_a_versions_history(fake: FakeService) -> str:
    changed = record(fake, VERSION)
    changed["history"][0]["actor"] = "eve"
    fake.ssm.values[VERSION] = dump(changed)
    return f"parameter {VERSION} history: expected event 2, found one with another actor"


def cut_a_versions_history(fake: FakeService) -> str:
    changed = record(fake, VERSION)
    changed["history"] = changed["history"][:-1]
    fake.ssm.values[VERSION] = dump(changed)
    own = sum(event.version == 1 for event in fake.events())
    return f"parameter {VERSION} history: expected {own} events, found {own - 1}"


def edit_a_versions_attributes(fake: FakeService) -> str:
    fake.ssm.values[VERSION] = dump(record(fake, VERSION) | {"sha256": "0" * 64})
    return f"parameter {VERSION} sha256: expected {'01' * 32}, found {'0' * 64}"


def delete_a_version(fake: FakeService) -> str:
    del fake.ssm.values[VERSION]
    own = sum(event.version == 1 for event in fake.events())
    return f"parameter {VERSION}: expected v1 with {own} events, found nothing"


def write_a_parameter_of_ones_own(fake: FakeService) -> str:
    fake.ssm.values[f"{PREFIX}/{GROUP}/canary/live"] = fake.ssm.values[LIVE]
    return f"parameter {PREFIX}/{GROUP}/canary/live: expected nothing, found a value that nobody here wrote"


def flip_a_status_in_the_console(fake: FakeService) -> str:
    arn = fake.view().version(2).package.arn
    fake.sagemaker.packages[arn]["ModelApprovalStatus"] = names.REJECTED
    return f"registry {arn} ModelApprovalStatus: expected Approved, found Rejected"


def flip_a_field_in_the_console(fake: FakeService) -> str:
    arn = fake.view().version(1).package.arn
    fake.sagemaker.packages[arn]["CustomerMetadataProperties"]["prod"] = names.APPROVED
    return f"registry {arn} CustomerMetadataProperties.prod: expected Superseded, found Approved"


PROJECTIONS = [
    edit_parameter,
    delete_parameter,
    put_another_versions_record,
    put_another_environments_record,
    put_an_older_record_back,
    sign_with_another_key,
    edit_the_signature_alone,
    write_no_record_at_all,
    put_a_version_in_the_place_of_a_live_record,
    put_another_versions_parameter,
    write_no_version_at_all,
    edit_the_number_of_the_last_event,
    edit_a_versions_history,
    cut_a_versions_history,
    edit_a_versions_attributes,
    delete_a_version,
    write_a_parameter_of_ones_own,
    flip_a_status_in_the_console,
    flip_a_field_in_the_console,
]


def alter_an_event(fake: FakeService) -> str:
    fake.ledger.alter(GROUP, "EVENT#0000000004", actor=msgspec.to_builtins(ANN.as_actor()) | {"subject": "eve"})
    return f"ledger {GROUP} event 4: expected content with the hash {short(fake, 4)}, found "


def remove_an_event(fake: FakeService) -> str:
    del fake.ledger.items[GROUP, "EVENT#0000000004"]
    return f"ledger {GROUP} event 4: expected event 4, found nothing before event 5"


def insert_an_event(fake: FakeService) -> str:
    head = fake.ledger.head(GROUP)
    fact = NewEvent(kind=names.MODEL_PROMOTED, actor=ANN.as_actor(), version=1, environment="prod")
    [event] = chained(head, [fact], time=fake.now, policy_digest="")
    fake.ledger.items[GROUP, f"EVENT#{event.sequence:010d}"] = canonical(event.stored())
    return f"ledger {GROUP} event 28: expected nothing after the head, event 27, found an event, 'Model Promoted'"


def insert_an_event_and_move_the_head(fake: FakeService) -> str:
    insert_an_event(fake)
    head = fake.ledger.head(GROUP)
    event = fake.events()[-1]
    fake.ledger.items[GROUP, "HEAD"] = canonical(head_after(head, [event]))
    return f"ledger {GROUP} head: expected a signature of the signing key, found none"


def rewrite_the_whole_chain(fake: FakeService) -> str:
    """Somebody with the whole table in their hands, but not the key."""
    facts = [
        NewEvent(kind=e.kind, actor=ANN.as_actor(), version=e.version, environment=e.environment, data=e.data)
        for e in fake.events()
    ]
    head = msgspec.structs.replace(fake.ledger.head(GROUP), sequence=0, hash="")
    for event in chained(head, facts, time=fake.now, policy_digest=""):
        fake.ledger.items[GROUP, f"EVENT#{event.sequence:010d}"] = canonical(event.stored())
        fake.ledger.items[GROUP, "HEAD"] = canonical(head_after(head, [event]))
    return f"ledger {GROUP} head: expected a signature of the signing key, found none"


def cut_the_tail(fake: FakeService) -> str:
    for sequence in (26, 27):
        del fake.ledger.items[GROUP, f"EVENT#{sequence:010d}"]
    return f"ledger {GROUP} event 26: expected an event, for the head is at 27, found nothing"


def restore_an_older_copy(fake: FakeService) -> str:
    """The head of before is signed like any other: the live records of later events give it away."""
    older = FakeService()
    older.signer = fake.signer
    older.promote(1)
    fake.ledger.items = older.ledger.items
    return (
        f"ledger {GROUP} head: expected event 18 or later, which {PREFIX}/{GROUP}/dev/live was signed for, "
        "found event 14: its tail was cut, or an older copy restored"
    )


def edit_a_stored_state(fake: FakeService) -> str:
    fake.ledger.alter(GROUP, "ENV#prod", live=1)
    return f"ledger {GROUP} state of prod, live: expected 2, found 1"


def remove_a_stored_state(fake: FakeService) -> str:
    del fake.ledger.items[GROUP, "VERSION#0000000001"]
    return f"ledger {GROUP} state of v1: expected a state, found nothing"


LEDGER = [
    alter_an_event,
    remove_an_event,
    insert_an_event,
    insert_an_event_and_move_the_head,
    rewrite_the_whole_chain,
    cut_the_tail,
    restore_an_older_copy,
    edit_a_stored_state,
    remove_a_stored_state,
]


@pytest.mark.parametrize("tamper", PROJECTIONS)
def test_tampering_with_a_projection_is_told_in_a_line_and_repaired(
    fake: FakeService, tamper: Callable[[FakeService], str]
) -> None:
    line = tamper(fake)
    assert fake.lines() == [line]
    for found in fake.verify():
        assert found.repair is not None
        found.repair()
    assert fake.lines() == []
    assert record(fake)["model_package_version"] == 2


@pytest.mark.parametrize("tamper", LEDGER)
def test_tampering_with_the_ledger_is_told_and_never_repaired(
    fake: FakeService, tamper: Callable[[FakeService], str]
) -> None:
    line = tamper(fake)
    assert fake.lines()[0].startswith(line)
    assert all(found.repair is None for found in fake.verify())


def test_while_the_ledger_is_broken_nothing_is_written_from_it(fake: FakeService) -> None:
    alter_an_event(fake)
    delete_parameter(fake)
    assert [found for found in fake.verify() if found.repair] == []


def test_an_anchor_outlives_an_older_copy_put_back_with_its_parameters(fake: FakeService) -> None:
    fake.anchors.append(anchor(fake))
    name = fake.anchors[-1].name
    older = FakeService()
    older.signer = fake.signer
    older.promote(1)
    older.project()
    fake.ledger.items, fake.ssm.values = older.ledger.items, older.ssm.values
    [line] = [line for line in fake.lines() if "anchor" in line or "heads/" in line]
    expected = f"the hash {fake.anchors[-1].hash[:12]}, as {name} has it"
    assert line == f"ledger {GROUP} event 27: expected {expected}, found a ledger that ends at event 14"


def test_an_anchor_knows_a_chain_rewritten_by_the_holder_of_the_key(fake: FakeService) -> None:
    other = FakeService()
    other.signer = fake.signer
    other.later(minutes=1)
    other.promote(1)
    other.promote(2)
    other.project()
    fake.ledger.items, fake.ssm.values = other.ledger.items, other.ssm.values
    fake.sagemaker.packages = other.sagemaker.packages
    [line] = fake.lines()
    assert line.startswith(f"ledger {GROUP} event 14: expected the hash {fake.anchors[0].hash[:12]}, as heads/")


def test_a_pending_projection_is_reported_but_no_difference(fake: FakeService) -> None:
    fake.promote(3, to="dev")
    found = fake.verify()
    assert {each.difference.what for each in found} == {"projection"}
    assert found[0].difference.line == (
        f"projection {GROUP} registry: expected event 31, found event 27: it is on its way, or in the dead-letter queue"
    )
    for each in found:
        assert each.repair is not None
        each.repair()
    fake.project()
    assert fake.lines() == []


def test_two_services_on_one_prefix_are_told_apart(fake: FakeService) -> None:
    other = FakeService()
    other.signer = LocalSigner("arn:of-another-key")
    other.promote(1, group="fraud")
    other.project("fraud")
    ours = {f"{PREFIX}/_service": "{}", f"{PREFIX}/_environment/prod": "123456789012"}
    everything = {**fake.ssm.values, **other.ssm.values, **ours}
    lines = [found.difference.line for found in fake.verifier.unknown_groups([GROUP], everything)]
    assert lines[0] == (
        f"parameter {PREFIX}/fraud/dev/live: expected nothing, for the ledger has no such group, found a record signed by "
        f"arn:of-another-key: do two services share the prefix {PREFIX}?"
    )
    assert len(lines) == 4
    assert all(found.repair is None for found in fake.verifier.unknown_groups([GROUP], everything))


def test_a_version_cleared_away_from_the_registry_is_missed_only_while_it_serves(fake: FakeService) -> None:
    del fake.sagemaker.packages[fake.view().version(1).package.arn]
    assert fake.lines() == []
    arn = fake.view().version(2).package.arn
    del fake.sagemaker.packages[arn]
    assert fake.lines() == [f"registry {arn}: expected the package, for it is live, found nothing"]


def test_a_history_of_many_pages_is_repaired_whole() -> None:
    fake = FakeService()
    fake.promote(1)
    for number in range(90):
        fake.measure(1, ("dev", "test", "prod")[number % 3], run=f"r{number}")
        fake.project()
    pages = sorted(name for name in fake.ssm.values if "/history/" in name)
    assert len(pages) > 2
    fake.ssm.values[pages[1]] = "[]"
    fake.ssm.values[f"{VERSION}/history/0099"] = json.dumps([{"sequence": 1}])
    [found] = fake.verify()
    assert found.repair is not None
    found.repair()
    assert fake.lines() == []
    fake.measure(1, "dev", run="after")
    fake.project()
    assert fake.lines() == []


def test_everything_wiped_is_rebuilt_from_the_ledger_alone(fake: FakeService) -> None:
    fake.ssm.values.clear()
    for package in fake.sagemaker.packages.values():
        package |= {"ModelApprovalStatus": names.PENDING, "CustomerMetadataProperties": {}, "ModelLifeCycle": None}
    for target in (names.REGISTRY, names.PARAMETERS):
        fake.cursors.reset(GROUP, target)
    sent = list(fake.mail.sent)
    fake.project()
    assert fake.lines() == []
    assert fake.mail.sent == sent
