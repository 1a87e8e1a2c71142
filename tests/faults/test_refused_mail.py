"""SES refuses an address for good: the others are mailed, operators hear of it once, and page and store name it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from promotion import names
from promotion.aws.messages.refused_mail import RefusedMails
from tests.fakes import BEN, GROUP
from tests.faults.resources import client
from tests.faults.simulation import simulation

REFUSED = "ann@example.com"


def refuses(call: str, given: dict[str, Any]) -> bool:
    """SES rejects mail to one address."""
    if call == "sesv2:SendEmail" and REFUSED in repr(given["Destination"]):
        said = f"Email address is not verified: {REFUSED}"
        raise ClientError({"Error": {"Code": "MessageRejected", "Message": said}}, "SendEmail")
    return False


def test_an_address_that_is_refused_holds_nothing_back_and_is_named(tmp_path: Path) -> None:
    with simulation(tmp_path) as service:
        service.fails_if = refuses
        for version in (1, 2):
            service.register()
            service.settle()
            assert len(service.mails) == version, "the other approver's"
        assert service.dead == []
        assert service.alarms == [f"promotion: {GROUP} mail refused for good"]
        assert service.differences() == []
        assert f"SES refuses mail to <bdi>{REFUSED}</bdi>" in service.look(2, "dev", BEN)
        with service.without_faults():
            kept = RefusedMails(client("dynamodb"), "projections")
            assert [(each.group, each.address, each.version) for each in kept.read()] == [(GROUP, REFUSED, 2)]
            assert kept.read("another") == []
        service.fails_if = None
        service.register()
        service.settle()
        with service.without_faults():
            assert kept.read() == []
        assert "SES refuses" not in service.look(3, "dev", BEN)


def test_a_refusal_that_cannot_be_remembered_sends_nobody_a_second_mail(tmp_path: Path) -> None:
    with simulation(tmp_path) as service:

        def forgetful(call: str, given: dict[str, Any]) -> bool:
            if names.REFUSED_MAIL_KEY in repr(given):
                raise ClientError({"Error": {"Code": "ProvisionedThroughputExceededException"}}, call.partition(":")[2])
            return refuses(call, given)

        service.fails_if = forgetful
        service.register()
        service.settle()
        assert len(service.mails) == 1
        assert service.alarms == [f"promotion: {GROUP} mail refused for good"]
