"""Effects of time: reminders, expiry, sessions. Last by its name, because the service's clock only goes forward."""

from __future__ import annotations

import re
from typing import Any

from tests.local.people import Person as Browser
from tests.security.house import ANN, House

HOUR = 3600


def mails(house: House, about: str) -> list[dict[str, Any]]:
    return [mail for mail in house.service.mailbox() if about in mail["subject"]]


def later(house: House, hours: float) -> None:
    house.service.advance_clock(hours * HOUR)
    house.invoke("sweep", {})


def test_a_request_is_reminded_of_once_at_half_time_and_expires_without_being_rejected(house: House) -> None:
    house.register("forgotten")
    asked = "forgotten:1:dev:1"
    house.wait_for(lambda: mails(house, "forgotten v1: approve for dev"))
    signed_in = Browser(house.service, "ann")
    signed_in.sign_in()
    cookie = {"Cookie": f"session={signed_in.browser.cookies['session']}"}
    signed_in.browser.close()
    assert house.send("GET", "/", headers=cookie).status == 200
    later(house, 35)
    assert not mails(house, "forgotten v1: still pending")
    later(house, 2)
    house.wait_for(lambda: mails(house, "forgotten v1: still pending"))
    later(house, 1)
    reminder = mails(house, "forgotten v1: still pending")
    assert [set(mail["to"]) for mail in reminder] == [{"ann@example.com", "ben@example.com"}]

    # Eight hours are over long since.
    assert house.send("GET", "/", headers=cookie).status == 302

    later(house, 35)
    page = house.send("GET", house.link(asked), who=ANN)
    assert page.status == 410
    assert "Ask again" in page.text
    assert house.decide(asked, ANN).status == 410
    house.wait_for(lambda: mails(house, "forgotten v1: request expired"))
    told = mails(house, "forgotten v1: request expired")[0]
    assert told["to"] == ["dee@example.com"]
    assert "not a rejection" in told["text"]
    metadata = house.aws("sagemaker").describe_model_package(ModelPackageName=house.packages["forgotten"][0])
    house.wait_for(lambda: _status(house, "forgotten") == "Expired")
    assert metadata["ModelApprovalStatus"] == "PendingManualApproval"

    # One button asks again.
    again = house.post(f"{house.link(asked)}/again", ANN, {"reason": "Everybody was away."})
    assert again.status == 303
    newer = house.link("forgotten:1:dev:2")
    assert re.search(re.escape(newer) + "$", again.headers["location"])
    house.took(house.decide("forgotten:1:dev:2", ANN))


def _status(house: House, group: str) -> str:
    found = house.aws("sagemaker").describe_model_package(ModelPackageName=house.packages[group][0])
    return str((found.get("CustomerMetadataProperties") or {}).get("dev"))
