"""The projector's table: delayed mail, addresses that SES refuses, cursors; and the queue of wake-up calls."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from msgspec.structs import replace

from promotion import names
from promotion.aws.messages.held_mail import HeldMail, Waiting
from promotion.aws.messages.refused_mail import RefusedMails
from promotion.ledger.events import RefusedMail
from promotion.workflows.storms import Storm
from tests.adapters.conftest import PROJECTIONS, Aws
from tests.fakes import BEGINNING, GROUP

STORM = Storm(sequence=7, last_at=BEGINNING, mailed_at=BEGINNING, held=7, told=3)
WAITING = Waiting(group=GROUP, sequence=7, since=BEGINNING)
REFUSED = RefusedMail(
    group=GROUP, address="ann@example.com", version=1, environment="dev", at=BEGINNING, reason="Not verified."
)


@pytest.fixture
def queue(aws: Aws) -> str:
    return str(aws.client("sqs").create_queue(QueueName="wake")["QueueUrl"])


@pytest.fixture
def held(aws: Aws, queue: str) -> HeldMail:
    return HeldMail(aws.dynamodb, PROJECTIONS, aws.client("sqs"), queue)


def test_a_storm_is_kept_for_each_environment_of_a_group(held: HeldMail) -> None:
    held.put_storm(GROUP, "dev", replace(STORM, sequence=6))
    held.put_storm(GROUP, "dev", STORM)
    held.put_storm(GROUP, "test", replace(STORM, held=None))
    held.put_storm(f"{GROUP}-2", "dev", replace(STORM, sequence=9))
    assert held.storms(GROUP) == {"dev": STORM, "test": replace(STORM, held=None)}
    assert held.storms("other") == {}


def test_events_wait_for_a_digest_until_their_mail_was_sent(held: HeldMail) -> None:
    told = replace(WAITING, told=("ann@example.com",), channels_told=True)
    later, other = replace(WAITING, sequence=10), replace(WAITING, group="other")
    for each in (WAITING, later, other, told):
        held.put(each)
    assert held.digest() == [other, told, later], "in the order of group and event, each with its newest state"
    held.remove(told)
    assert held.digest() == [other, later]


@pytest.mark.parametrize(
    ("after", "delay"), [(timedelta(seconds=89.2), 91), (timedelta(seconds=-5), 0), (timedelta(days=1), 900)]
)
def test_the_projector_is_woken_after_the_time_and_within_what_sqs_allows(
    aws: Aws, queue: str, after: timedelta, delay: int
) -> None:
    sqs, asked = aws.client("sqs"), list[dict[str, object]]()
    sqs.meta.events.register("provide-client-params.sqs.SendMessage", lambda params, **_: asked.append(dict(params)))
    HeldMail(aws.dynamodb, PROJECTIONS, sqs, queue).wake(names.DIGEST, after)
    [message] = asked
    assert message["DelaySeconds"] == delay
    assert json.loads(str(message["MessageBody"])) == {"group": names.DIGEST, "later": True}


def test_a_refused_address_is_told_of_once_and_forgotten_once_it_gets_mail(aws: Aws) -> None:
    mails = RefusedMails(aws.dynamodb, PROJECTIONS)
    assert mails.put(REFUSED) is True
    assert mails.put(replace(REFUSED, version=2)) is False
    assert mails.put(replace(REFUSED, address="ben@example.com")) is True
    assert mails.put(replace(REFUSED, group=f"{GROUP}-2")) is True
    assert [(each.address, each.version) for each in mails.read(GROUP)] == [
        ("ann@example.com", 2), ("ben@example.com", 1),
    ]  # fmt: skip
    mails.remove(GROUP, {"ann@example.com", "cho@example.com"})
    assert [each.address for each in mails.read(GROUP)] == ["ben@example.com"]
    assert len(mails.read()) == 2, "the other group's stays"


def test_a_cursor_goes_back_only_where_it_is_put_there(aws: Aws) -> None:
    aws.cursors.advance(GROUP, names.MAIL, 5)
    aws.cursors.advance(GROUP, names.MAIL, 3)
    assert aws.cursors.read(GROUP) == {names.MAIL: 5}
    aws.cursors.put(GROUP, names.MAIL, 3)
    assert aws.cursors.read(GROUP) == {names.MAIL: 3}
    aws.cursors.reset(GROUP, names.MAIL)
    assert aws.cursors.read(GROUP) == {}
