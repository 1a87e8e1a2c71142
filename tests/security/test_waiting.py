"""Effects of time: reminders, expiry, sessions. Last by its name, because the service's clock only goes forward."""

from __future__ import annotations

import re

from tests.local.people import Person as Browser
from tests.security.attacked import ANN, Attacked

HOUR = 3600


def later(attacked: Attacked, hours: float) -> None:
    attacked.service.advance_clock(hours * HOUR)
    attacked.invoke("sweep", {})


def test_a_request_is_reminded_of_once_at_half_time_and_expires_without_being_rejected(attacked: Attacked) -> None:
    attacked.register("forgotten")
    asked = "forgotten:1:dev:1"
    attacked.wait_for(lambda: attacked.mails("forgotten v1: approve for dev"))
    signed_in = Browser(attacked.service, "ann")
    signed_in.sign_in()
    cookie = {"Cookie": f"session={signed_in.browser.cookies['session']}"}
    signed_in.browser.close()
    assert attacked.send("GET", "/", headers=cookie).status == 200
    later(attacked, 35)
    assert not attacked.mails("forgotten v1: still pending")
    later(attacked, 2)
    attacked.wait_for(lambda: attacked.mails("forgotten v1: still pending"))
    later(attacked, 1)
    reminder = attacked.mails("forgotten v1: still pending")
    assert [set(mail["to"]) for mail in reminder] == [{"ann@example.com", "ben@example.com"}]

    # Eight hours are over long since.
    assert attacked.send("GET", "/", headers=cookie).status == 302

    later(attacked, 35)
    page = attacked.send("GET", attacked.link(asked), who=ANN)
    assert page.status == 410
    assert "Ask again" in page.text
    assert attacked.decide(asked, ANN).status == 410
    attacked.wait_for(lambda: attacked.mails("forgotten v1: request expired"))
    told = attacked.mails("forgotten v1: request expired")[0]
    assert told["to"] == ["dee@example.com"]
    assert "not a rejection" in told["text"]
    metadata = attacked.aws("sagemaker").describe_model_package(ModelPackageName=attacked.packages["forgotten"][0])
    attacked.wait_for(lambda: _status(attacked, "forgotten") == "Expired")
    assert metadata["ModelApprovalStatus"] == "PendingManualApproval"

    # One button asks again.
    again = attacked.post(f"{attacked.link(asked)}/again", ANN, {"reason": "Everybody was away."})
    assert again.status == 303
    newer = attacked.link("forgotten:1:dev:2")
    assert re.search(re.escape(newer) + "$", again.headers["location"])
    attacked.took(attacked.decide("forgotten:1:dev:2", ANN))


def _status(attacked: Attacked, group: str) -> str:
    found = attacked.aws("sagemaker").describe_model_package(ModelPackageName=attacked.packages[group][0])
    return str((found.get("CustomerMetadataProperties") or {}).get("dev"))
