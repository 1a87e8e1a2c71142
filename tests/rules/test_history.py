"""The chain, its signed head, and the pages in which Parameter Store keeps a history."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any, cast

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from promotion import names
from promotion.domain.canonical_json import canonical
from promotion.domain.model import Head
from promotion.domain.people import SYSTEM, Actor
from promotion.errors import IntegrityError
from promotion.ledger.chain import read_chain
from promotion.ledger.checked import LedgerReader, StoredHead
from promotion.ledger.events import (
    Event,
    NewEvent,
    StoredEvent,
    chain_problems,
    chained,
    check_chain,
    head_after,
    head_bytes,
    read_event,
    signed,
)
from promotion.ledger.parameter_documents import PAGE_BYTES, dump, entry, seal
from promotion.ledger.payloads import PAYLOADS, recorded
from promotion.rendering.sentences import sentence
from promotion.workflows import decisions
from tests.fakes import ANN, BEGINNING, GROUP, FakeService, a_package, a_registration
from tests.memory import LocalSigner

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=600)


def chain(count: int) -> tuple[list[Event], Head]:
    facts = [NewEvent(kind="Step", actor=SYSTEM, version=1, data={"n": n}) for n in range(count)]
    events = chained(Head(group=GROUP), facts, time=BEGINNING, policy_digest="p")
    return events, head_after(Head(group=GROUP), events)


def altered(event: Event, **changes: Any) -> Event:
    """The event with other content in its stored text; its hash stays."""
    text = canonical({**msgspec.json.decode(event.text), **changes}).decode()
    return read_event(StoredEvent(text=text, hash=event.hash, signature=event.signature))


def lines(events: list[Event], head: Head) -> list[str]:
    return [problem.line for problem in chain_problems(events, head)]


def test_a_chain_as_it_was_written_holds() -> None:
    events, head = chain(5)
    assert chain_problems(events, head) == []
    assert chain_problems([], Head(group=GROUP)) == []


def test_an_altered_event_is_named() -> None:
    events, head = chain(5)
    events[2] = altered(events[2], actor=ANN.as_actor())
    [line] = lines(events, head)
    assert line.startswith(f"ledger {GROUP} event 3: expected content with the hash {events[2].hash[:12]}, found ")
    with pytest.raises(IntegrityError, match="event 3"):
        check_chain(events, head)


def test_an_event_altered_with_its_hash_breaks_what_follows() -> None:
    events, head = chain(5)
    other = altered(events[2], data={"n": 77})
    events[2] = replace(other, hash=other.computed_hash())
    assert lines(events, head)[0].startswith(f"ledger {GROUP} event 4: expected to follow {events[2].hash[:12]}")


def test_a_removed_event_is_named() -> None:
    events, head = chain(5)
    del events[2]
    assert lines(events, head)[0] == f"ledger {GROUP} event 3: expected event 3, found nothing before event 4"


def test_an_event_put_in_after_the_head_is_named() -> None:
    events, head = chain(4)
    inserted = chained(head, [NewEvent(kind="Model Promoted", actor=SYSTEM)], time=BEGINNING, policy_digest="p")
    assert lines([*events, *inserted], head) == [
        f"ledger {GROUP} event 5: expected nothing after the head, event 4, found an event, 'Model Promoted'"
    ]


def test_a_cut_tail_is_named() -> None:
    events, head = chain(5)
    assert lines(events[:3], head) == [
        f"ledger {GROUP} event 4: expected an event, for the head is at 5, found nothing"
    ]


def test_a_head_of_another_chain_is_named() -> None:
    events, head = chain(5)
    assert "head" in lines(events, replace(head, hash="0" * 64))[0]


def test_any_change_of_any_field_is_found() -> None:
    events, head = chain(3)
    changes: dict[str, Any] = {
        "group": "other", "event_id": "x", "kind": "Other", "time": BEGINNING + timedelta(seconds=1), "version": 2,
        "environment": "prod", "evidence_digest": "e", "policy_digest": "q", "previous_hash": "f" * 64, "schema": 2,
        "sequence": 9, "actor": ANN.as_actor(), "data": {}, "added_by_nobody": 1,
    }  # fmt: skip
    assert changes.keys() == {*msgspec.json.decode(events[1].text), "added_by_nobody"}
    for field, value in changes.items():
        assert chain_problems([events[0], altered(events[1], **{field: value}), events[2]], head), field
    assert chain_problems([events[0], replace(events[1], hash="a" * 64), events[2]], head)


def test_the_head_is_signed_and_by_nobody_else() -> None:
    ours, theirs = LocalSigner(), LocalSigner()
    events, _ = chain(2)
    last = signed(events, ours.sign)[-1]
    message = head_bytes(last.group, last.sequence, last.hash)
    assert ours.holds(message, last.signature)
    assert not theirs.holds(message, last.signature)
    assert not ours.holds(head_bytes(last.group, last.sequence - 1, last.hash), last.signature)
    assert last.computed_hash() == last.hash, "the signature is over the hash, not in it"


def test_every_append_ends_in_a_signature() -> None:
    fake = FakeService()
    fake.promote(1)
    head = fake.ledger.head(GROUP)
    assert fake.signer.holds(head_bytes(GROUP, head.sequence, head.hash), head.signature)
    assert fake.events()[-1].signature == head.signature


def test_the_same_step_at_another_time_is_another_event() -> None:
    """Two clicks of the same person must not be taken for one append sent twice."""
    fact = NewEvent(kind="Step", actor=SYSTEM)
    ids = {
        chained(Head(group=GROUP), [fact], time=BEGINNING + timedelta(microseconds=n), policy_digest="")[0].event_id
        for n in range(3)
    }
    assert len(ids) == 3


@given(st.lists(TEXT, min_size=1, max_size=60))
@example(["{{" * 300] * 5)
@example(['"\\' * 300])
def test_pages_hold_every_entry_once_in_order_and_fit(reasons: list[str]) -> None:
    entries = [{"sequence": n, "reason": reason} for n, reason in enumerate(reasons)]
    pages: list[list[dict[str, Any]]] = []
    left: list[dict[str, Any]] = []
    for found in entries:
        page, left = seal([*left, found], 3000)
        while page:
            pages.append(page)
            page, left = seal(left, 3000)
    assert [found for page in pages for found in page] + left == entries
    assert all(len(dump(page).encode()) <= PAGE_BYTES for page in [*pages, left])


@given(TEXT)
@example("{{ssm:/other/parameter}}")
@example("a{{{{{b")
def test_no_value_has_two_braces_and_each_reads_back(text: str) -> None:
    value = dump([{"reason": text, "nested": {"a": {}}}])
    assert "{{" not in value
    assert json.loads(value)[0]["reason"] == text


def test_an_entry_has_what_the_contract_names() -> None:
    fake = FakeService()
    fake.register(1)
    [decision, promotion] = fake.decide(1, "dev").events
    assert entry(decision) == {
        "sequence": 4,
        "time": "2026-11-20T09:00:00Z",
        "actor": "ann",
        "environment": "dev",
        "kind": "Decision Recorded",
        "verdict": "Approved",
        "reason": "Good on every slice.",
        "hash": decision.hash,
    }
    assert "verdict" not in entry(promotion)


@pytest.mark.parametrize("kind", PAYLOADS)
def test_every_kind_reads_like_a_story(kind: str) -> None:
    data = {
        "reason": "so", "verdict": "Approved", "from_version": 4, "request_id": "g:3:prod:1", "status": "Completed",
        "evidence": {"source": "registration"}, "gates": [], "attempt": 1, "expires_at": BEGINNING, "source": "monitor",
        "execution": "e", "environments": [], "before": "a", "after": "b", "version": 3, "arn": "a",
        "package": {"group": GROUP, "version": 3, "arn": "a", "containers": []},
    }  # fmt: skip
    event = Event(
        group=GROUP, sequence=1, event_id="i", kind=kind, time=BEGINNING, actor=Actor(kind="person", subject="a", name="Ann"),
        version=3, environment="prod", data=data, previous_hash="",
    )  # fmt: skip
    said = sentence(event)
    assert not said.startswith(kind), "it has a sentence of its own"
    assert len(said.split()) >= 3


def test_an_event_of_a_later_release_is_shown_by_its_kind() -> None:
    event = Event(
        group=GROUP, sequence=1, event_id="i", kind="Model Praised", time=BEGINNING,
        actor=Actor(kind="person", subject="a", name="Ann"), version=3, environment="prod", data={}, previous_hash="",
    )  # fmt: skip
    assert sentence(event) == "Model Praised v3 in prod"


def test_a_package_made_anew_is_told_from_one_that_was_changed() -> None:
    fake = FakeService()
    fake.register(1, created_at=BEGINNING)
    decisions.register(a_package(1, created_at=BEGINNING + timedelta(hours=1)), a_registration(), context=fake.context)
    said = [sentence(event) for event in fake.events()]
    assert "another package begins as v1: the earlier one was deleted from the registry" in said


def test_a_version_that_is_asked_again_has_the_note_of_what_changed_in_its_history() -> None:
    fake = FakeService()
    fake.register(1)
    fake.decide(1, "dev", verdict=names.REJECTED)
    decisions.ask_again(fake.asked(1, "dev"), ANN, "Names are masked now.", context=fake.context)
    requests = [sentence(event) for event in fake.events() if event.kind == names.APPROVAL_REQUESTED]
    assert requests == ["v1 was requested for dev", "v1 was requested for dev: “Names are masked now.”"]


def test_a_chain_that_grows_during_every_read_is_read_up_to_a_head_that_it_has() -> None:
    fake = FakeService()
    fake.register(1)

    class Moving:
        """A ledger that somebody appends to after each read of its head."""

        def stored_head(self, group: str) -> StoredHead:
            found = fake.ledger.stored_head(group)
            fake.decide(1, "dev") if fake.live("dev") is None else fake.measure(1, "dev")
            fake.later(minutes=1)
            return found

        def __getattr__(self, name: str) -> Any:
            return getattr(fake.ledger, name)

    head, events = read_chain(cast(LedgerReader, Moving()), GROUP)
    check_chain(events, head)
    assert len(fake.events()) > len(events) == head.sequence > 2


def test_a_field_that_no_reader_would_find_is_not_recorded() -> None:
    with pytest.raises(TypeError, match=r"'Model Revoked' has no field who"):
        recorded(names.MODEL_REVOKED, {"reason": "x", "falls_back": {}, "who": "ann"})
