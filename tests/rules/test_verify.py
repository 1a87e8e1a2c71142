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
from tests.fakes import ANN, GROUP, PREFIX, House
from tests.memory import LocalSigner

LIVE = f"{PREFIX}/{GROUP}/prod/live"
VERSION = f"{PREFIX}/{GROUP}/versions/1"


@pytest.fixture
def house() -> House:
    """Version 2 live everywhere, version 1 before it, everything projected and anchored."""
    house = House()
    house.climb(1)
    house.project()
    house.anchors.append(anchor(house))
    house.climb(2)
    house.project()
    assert house.lines() == []
    return house


def anchor(house: House) -> Anchor:
    head = house.ledger.head(GROUP)
    return Anchor(name=f"heads/{GROUP}/{head.sequence:010d}-{head.hash}.json", sequence=head.sequence, hash=head.hash)


def record(house: House, name: str = LIVE) -> dict[str, Any]:
    return dict(json.loads(house.ssm.values[name]))


def short(house: House, sequence: int) -> str:
    return house.events()[sequence - 1].hash[:12]


def edit_parameter(house: House) -> str:
    changed = record(house)
    changed["containers"][0]["model_data_url"] = "s3://elsewhere/model.tar.gz"
    house.ssm.values[LIVE] = dump(changed)
    return f"parameter {LIVE}: expected v2 of event 27, found containers edited, and a signature that doesn't hold"


def delete_parameter(house: House) -> str:
    del house.ssm.values[LIVE]
    return f"parameter {LIVE}: expected v2 of event 27, found nothing"


def put_another_versions_record(house: House) -> str:
    changed = record(house)
    changed["model_package_version"] = 1
    house.ssm.values[LIVE] = dump(changed)
    return f"parameter {LIVE}: expected v2 of event 27, found model_package_version edited, and a signature that doesn't hold"


def put_another_environments_record(house: House) -> str:
    house.ssm.values[LIVE] = house.ssm.values[f"{PREFIX}/{GROUP}/dev/live"]
    return f"parameter {LIVE}: expected v2 of event 27, found the record of {GROUP} in dev"


def put_an_older_record_back(house: House) -> str:
    older = House()
    older.signer = house.signer
    older.climb(1)
    older.project()
    house.ssm.values[LIVE] = older.ssm.values[LIVE]
    return (
        f"parameter {LIVE}: expected v2 of event 27, found v1 of event 14, signed: an older or another record put back"
    )


def sign_with_another_key(house: House) -> str:
    other = LocalSigner("arn:aws:kms:us-east-1:123456789012:key/of-another-service")
    changed = record(house) | {"key_id": other.key_id}
    changed["signature"] = other.sign_text(signed_bytes(changed))
    house.ssm.values[LIVE] = dump(changed)
    return (
        f"parameter {LIVE}: expected a signature of {house.signer.key_id}, found one of {other.key_id}: "
        f"do two services share the prefix {PREFIX}?"
    )


def edit_the_signature_alone(house: House) -> str:
    changed = record(house)
    changed["signature"] = base64.b64encode(b"nothing of the kind").decode()
    house.ssm.values[LIVE] = dump(changed)
    return f"parameter {LIVE}: expected v2 of event 27, found nothing edited, and a signature that doesn't hold"


def write_no_record_at_all(house: House) -> str:
    house.ssm.values[LIVE] = "v1"
    return f"parameter {LIVE}: expected v2 of event 27, found something that is no record"


def put_a_version_in_the_place_of_a_live_record(house: House) -> str:
    house.ssm.values[LIVE] = house.ssm.values[VERSION]
    return f"parameter {LIVE}: expected v2 of event 27, found something that is no record"


def put_another_versions_parameter(house: House) -> str:
    house.ssm.values[VERSION] = house.ssm.values[f"{PREFIX}/{GROUP}/versions/2"]
    return f"parameter {VERSION} model_package_version: expected 1, found 2"


def write_no_version_at_all(house: House) -> str:
    house.ssm.values[VERSION] = "v1"
    own = sum(event.version == 1 for event in house.events())
    return f"parameter {VERSION}: expected v1 with {own} events, found something that is no record"


def edit_a_versions_history(house: House) -> str:
    changed = record(house, VERSION)
    changed["history"][0]["actor"] = "eve"
    house.ssm.values[VERSION] = dump(changed)
    return f"parameter {VERSION} history: expected event 2, found one with another actor"


def cut_a_versions_history(house: House) -> str:
    changed = record(house, VERSION)
    changed["history"] = changed["history"][:-1]
    house.ssm.values[VERSION] = dump(changed)
    own = sum(event.version == 1 for event in house.events())
    return f"parameter {VERSION} history: expected {own} events, found {own - 1}"


def edit_a_versions_attributes(house: House) -> str:
    house.ssm.values[VERSION] = dump(record(house, VERSION) | {"sha256": "0" * 64})
    return f"parameter {VERSION} sha256: expected {'01' * 32}, found {'0' * 64}"


def delete_a_version(house: House) -> str:
    del house.ssm.values[VERSION]
    own = sum(event.version == 1 for event in house.events())
    return f"parameter {VERSION}: expected v1 with {own} events, found nothing"


def write_a_parameter_of_ones_own(house: House) -> str:
    house.ssm.values[f"{PREFIX}/{GROUP}/canary/live"] = house.ssm.values[LIVE]
    return f"parameter {PREFIX}/{GROUP}/canary/live: expected nothing, found a value that nobody here wrote"


def flip_a_status_in_the_console(house: House) -> str:
    arn = house.view().version(2).package.arn
    house.sagemaker.packages[arn]["ModelApprovalStatus"] = names.REJECTED
    return f"registry {arn} ModelApprovalStatus: expected Approved, found Rejected"


def flip_a_field_in_the_console(house: House) -> str:
    arn = house.view().version(1).package.arn
    house.sagemaker.packages[arn]["CustomerMetadataProperties"]["prod"] = names.APPROVED
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
    edit_a_versions_history,
    cut_a_versions_history,
    edit_a_versions_attributes,
    delete_a_version,
    write_a_parameter_of_ones_own,
    flip_a_status_in_the_console,
    flip_a_field_in_the_console,
]


def alter_an_event(house: House) -> str:
    house.ledger.alter(GROUP, "EVENT#0000000004", actor=msgspec.to_builtins(ANN.as_actor()) | {"subject": "eve"})
    return f"ledger {GROUP} event 4: expected content with the hash {short(house, 4)}, found "


def remove_an_event(house: House) -> str:
    del house.ledger.items[GROUP, "EVENT#0000000004"]
    return f"ledger {GROUP} event 4: expected event 4, found nothing before event 5"


def insert_an_event(house: House) -> str:
    head = house.ledger.head(GROUP)
    fact = NewEvent(kind=names.MODEL_PROMOTED, actor=ANN.as_actor(), version=1, environment="prod")
    [event] = chained(head, [fact], time=house.now, policy_digest="")
    house.ledger.items[GROUP, f"EVENT#{event.sequence:010d}"] = canonical(event.stored())
    return f"ledger {GROUP} event 28: expected nothing after the head, event 27, found an event, 'Model Promoted'"


def insert_an_event_and_move_the_head(house: House) -> str:
    insert_an_event(house)
    head = house.ledger.head(GROUP)
    event = house.events()[-1]
    house.ledger.items[GROUP, "HEAD"] = canonical(head_after(head, [event]))
    return f"ledger {GROUP} head: expected a signature of the signing key, found none"


def rewrite_the_whole_chain(house: House) -> str:
    """Somebody with the whole table in their hands, but not the key."""
    facts = [
        NewEvent(kind=e.kind, actor=ANN.as_actor(), version=e.version, environment=e.environment, data=e.data)
        for e in house.events()
    ]
    head = msgspec.structs.replace(house.ledger.head(GROUP), sequence=0, hash="")
    for event in chained(head, facts, time=house.now, policy_digest=""):
        house.ledger.items[GROUP, f"EVENT#{event.sequence:010d}"] = canonical(event.stored())
        house.ledger.items[GROUP, "HEAD"] = canonical(head_after(head, [event]))
    return f"ledger {GROUP} head: expected a signature of the signing key, found none"


def cut_the_tail(house: House) -> str:
    for sequence in (26, 27):
        del house.ledger.items[GROUP, f"EVENT#{sequence:010d}"]
    return f"ledger {GROUP} event 26: expected an event, for the head is at 27, found nothing"


def restore_an_older_copy(house: House) -> str:
    """The head of before is signed like any other: the live records of later events give it away."""
    older = House()
    older.signer = house.signer
    older.climb(1)
    house.ledger.items = older.ledger.items
    return (
        f"ledger {GROUP} head: expected event 18 or later, which {PREFIX}/{GROUP}/dev/live was signed for, "
        "found event 14: its tail was cut, or an older copy restored"
    )


def edit_a_stored_state(house: House) -> str:
    house.ledger.alter(GROUP, "ENV#prod", live=1)
    return f"ledger {GROUP} state of prod, live: expected 2, found 1"


def remove_a_stored_state(house: House) -> str:
    del house.ledger.items[GROUP, "VERSION#0000000001"]
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
    house: House, tamper: Callable[[House], str]
) -> None:
    line = tamper(house)
    assert house.lines() == [line]
    for found in house.verify():
        assert found.repair is not None
        found.repair()
    assert house.lines() == []
    assert record(house)["model_package_version"] == 2


@pytest.mark.parametrize("tamper", LEDGER)
def test_tampering_with_the_ledger_is_told_and_never_repaired(house: House, tamper: Callable[[House], str]) -> None:
    line = tamper(house)
    assert house.lines()[0].startswith(line)
    assert all(found.repair is None for found in house.verify())


def test_while_the_ledger_is_broken_nothing_is_written_from_it(house: House) -> None:
    alter_an_event(house)
    delete_parameter(house)
    assert [found for found in house.verify() if found.repair] == []


def test_an_anchor_outlives_an_older_copy_put_back_with_its_parameters(house: House) -> None:
    house.anchors.append(anchor(house))
    name = house.anchors[-1].name
    older = House()
    older.signer = house.signer
    older.climb(1)
    older.project()
    house.ledger.items, house.ssm.values = older.ledger.items, older.ssm.values
    [line] = [line for line in house.lines() if "anchor" in line or "heads/" in line]
    expected = f"the hash {house.anchors[-1].hash[:12]}, as {name} has it"
    assert line == f"ledger {GROUP} event 27: expected {expected}, found a ledger that ends at event 14"


def test_an_anchor_knows_a_chain_rewritten_by_the_holder_of_the_key(house: House) -> None:
    other = House()
    other.signer = house.signer
    other.later(minutes=1)
    other.climb(1)
    other.climb(2)
    other.project()
    house.ledger.items, house.ssm.values = other.ledger.items, other.ssm.values
    house.sagemaker.packages = other.sagemaker.packages
    [line] = house.lines()
    assert line.startswith(f"ledger {GROUP} event 14: expected the hash {house.anchors[0].hash[:12]}, as heads/")


def test_a_pending_projection_is_reported_but_no_difference(house: House) -> None:
    house.climb(3, to="dev")
    found = house.verify()
    assert {each.difference.what for each in found} == {"projection"}
    assert found[0].difference.line == (
        f"projection {GROUP} registry: expected event 31, found event 27: it is on its way, or in the dead-letter queue"
    )
    for each in found:
        assert each.repair is not None
        each.repair()
    house.project()
    assert house.lines() == []


def test_two_services_on_one_prefix_are_told_apart(house: House) -> None:
    other = House()
    other.signer = LocalSigner("arn:of-another-key")
    other.climb(1, group="fraud")
    other.project("fraud")
    ours = {f"{PREFIX}/_service": "{}", f"{PREFIX}/_environment/prod": "123456789012"}
    everything = {**house.ssm.values, **other.ssm.values, **ours}
    lines = [found.difference.line for found in house.verifier.strangers([GROUP], everything)]
    assert lines[0] == (
        f"parameter {PREFIX}/fraud/dev/live: expected nothing, for the ledger has no such group, found a record signed by "
        f"arn:of-another-key: do two services share the prefix {PREFIX}?"
    )
    assert len(lines) == 4
    assert all(found.repair is None for found in house.verifier.strangers([GROUP], everything))


def test_a_version_cleared_away_from_the_registry_is_missed_only_while_it_serves(house: House) -> None:
    del house.sagemaker.packages[house.view().version(1).package.arn]
    assert house.lines() == []
    arn = house.view().version(2).package.arn
    del house.sagemaker.packages[arn]
    assert house.lines() == [f"registry {arn}: expected the package, for it is live, found nothing"]


def test_a_history_of_many_pages_is_repaired_whole() -> None:
    house = House()
    house.climb(1)
    for number in range(90):
        house.measure(1, ("dev", "test", "prod")[number % 3], run=f"r{number}")
        house.project()
    pages = sorted(name for name in house.ssm.values if "/history/" in name)
    assert len(pages) > 2
    house.ssm.values[pages[1]] = "[]"
    house.ssm.values[f"{VERSION}/history/0099"] = json.dumps([{"sequence": 1}])
    [found] = house.verify()
    assert found.repair is not None
    found.repair()
    assert house.lines() == []
    house.measure(1, "dev", run="after")
    house.project()
    assert house.lines() == []


def test_everything_wiped_is_rebuilt_from_the_ledger_alone(house: House) -> None:
    house.ssm.values.clear()
    for package in house.sagemaker.packages.values():
        package |= {"ModelApprovalStatus": names.PENDING, "CustomerMetadataProperties": {}, "ModelLifeCycle": None}
    for target in (names.REGISTRY, names.PARAMETERS):
        house.cursors.reset(GROUP, target)
    sent = list(house.mail.sent)
    house.project()
    assert house.lines() == []
    assert house.mail.sent == sent
