"""A requester without any group: reads their own versions, withdraws, asks again, and is told what stops a version."""

from __future__ import annotations

from typing import Any

from tests.security.house import ANN, EVE, House, person

DEE = person("dee")


def mails(house: House, about: str) -> list[dict[str, Any]]:
    found = house.service.mailbox()
    return [mail for mail in found if about in mail["subject"] and mail["to"] == ["dee@example.com"]]


def test_a_requester_reads_their_own_versions_alone(house: House) -> None:
    house.register("own")
    house.register("foreign", CustomerMetadataProperties={"requested_by": "kim@example.com"})
    own, foreign = house.link("own:1:dev:1"), house.link("foreign:1:dev:1")
    page = house.send("GET", own, who=DEE)
    assert page.status == 200
    assert "Withdraw the request" in page.text
    assert 'name="verdict"' not in page.text
    assert house.send("GET", "/models/own/versions/1", who=DEE).status == 200
    for path in (foreign, "/models/foreign/versions/1", "/models/own", "/models/own/versions/9", "/", f"{own}x"):
        assert house.send("GET", path, who=DEE).status == 403, path
    assert [house.send("GET", path, who=EVE).status for path in (own, "/models/own/versions/1")] == [403, 403]
    assert house.decide("own:1:dev:1", DEE).status == 403


def test_a_requester_compares_with_versions_of_their_own_alone(house: House) -> None:
    house.register("shared")
    house.register("shared", CustomerMetadataProperties={"requested_by": "kim@example.com", "dataset": "kims-secret"})
    house.register("shared")
    for query, others in (("?with=2", [3]), ("?with=3", [3]), ("", [3])):
        document = house.read(f"/models/shared/versions/1{query}", DEE)
        assert document["others"] == others
        assert bool(document["compared"]) is (query == "?with=3")
        assert "kims-secret" not in house.send("GET", f"/models/shared/versions/1{query}", who=DEE).text
    assert house.read("/models/shared/versions/1?with=2", ANN)["compared"]


def test_a_requester_withdraws_and_asks_again(house: House) -> None:
    house.register("mine")
    link = house.link("mine:1:dev:1")
    assert house.post(f"{link}/withdraw", EVE).status == 403
    assert house.post(f"{link}/withdraw", ANN).status == 403, "an approver rejects"
    assert house.post(f"{link}/withdraw", DEE, csrf=None).status == 403
    house.took(house.post(f"{link}/withdraw", DEE, {"reason": "Wrong data."}))
    page = house.read(link, ANN)
    assert (page["state"], page["may_decide"], page["may_reject"]) == ("Withdrawn", False, False)
    assert house.decide("mine:1:dev:1", ANN).status == 409
    assert house.post(f"{link}/withdraw", DEE).status == 409
    client, arn = house.aws("sagemaker"), house.packages["mine"][0]

    def in_registry() -> bool:
        found = client.describe_model_package(ModelPackageName=arn)
        return bool(found["CustomerMetadataProperties"].get("dev") == "Withdrawn")

    house.wait_for(in_registry)
    again = house.post(f"{link}/again", DEE, {"reason": "The data was right after all."})
    house.took(again)
    assert again.headers["location"].endswith(house.link("mine:1:dev:2"))
    house.took(house.decide("mine:1:dev:2", ANN))


def test_a_requester_is_told_at_once_what_stops_a_version(house: House) -> None:
    house.register("no-bytes", without_artifact=True)
    house.wait_for(lambda: mails(house, "no-bytes v1: stopped"))
    told = mails(house, "no-bytes v1: stopped")[0]
    assert "there is no object at" in " ".join(told["text"].split())
    assert told["links"][0].endswith(house.link("no-bytes:1:dev:1"))
    assert house.send("GET", house.link("no-bytes:1:dev:1"), who=DEE).status == 200


def test_team_and_requester_hear_at_once_that_nothing_measures_a_version(house: House) -> None:
    house.register("unmeasured")
    house.took(house.decide("unmeasured:1:dev:1", ANN))
    report = {
        "environment": "dev", "model_package_group": "unmeasured", "model_package_version": 1, "run_id": "dev-v1",
        "status": "Skipped", "reason": "There is no input at s3://promotion-models/unmeasured/dev/input.jsonl",
    }  # fmt: skip
    for _ in range(2):
        assert "refused" not in house.invoke("on_inference_completed", {"detail": report})
    house.wait_for(lambda: mails(house, "unmeasured v1: not measured in dev"))
    everybody = [mail for mail in house.service.mailbox() if "unmeasured v1: not measured" in mail["subject"]]
    assert sorted(mail["to"] for mail in everybody) == [["ann@example.com", "ben@example.com"], ["dee@example.com"]]
    assert "promotion report unmeasured dev 1 --metrics FILE" in " ".join(everybody[0]["text"].split())
    page = house.read("/models/unmeasured/versions/1")
    assert "was not measured in dev: There is no input" in page["events"][0]["sentence"]
    # What is reported later asks as a run does.
    house.ran("unmeasured", 1, "dev", 0.9, run_id="late")
    house.asked("unmeasured:1:test:1")
