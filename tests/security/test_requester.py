"""A requester without any group: reads their own versions, withdraws, asks again, and is told what stops a version."""

from __future__ import annotations

from tests.security.attacked import ANN, EVE, Attacked, person

DEE = person("dee")


def test_a_requester_reads_their_own_versions_alone(attacked: Attacked) -> None:
    attacked.register("own")
    attacked.register("foreign", CustomerMetadataProperties={"requested_by": "kim@example.com"})
    own, foreign = attacked.link("own:1:dev:1"), attacked.link("foreign:1:dev:1")
    page = attacked.send("GET", own, who=DEE)
    assert page.status == 200
    assert "Withdraw the request" in page.text
    assert 'name="verdict"' not in page.text
    assert attacked.send("GET", "/models/own/versions/1", who=DEE).status == 200
    for path in (foreign, "/models/foreign/versions/1", "/models/own", "/models/own/versions/9", "/", f"{own}x"):
        assert attacked.send("GET", path, who=DEE).status == 403, path
    assert [attacked.send("GET", path, who=EVE).status for path in (own, "/models/own/versions/1")] == [403, 403]
    assert attacked.decide("own:1:dev:1", DEE).status == 403


def test_a_requester_compares_with_versions_of_their_own_alone(attacked: Attacked) -> None:
    attacked.register("shared")
    attacked.register(
        "shared", CustomerMetadataProperties={"requested_by": "kim@example.com", "dataset": "kims-secret"}
    )
    attacked.register("shared")
    for query, others in (("?with=2", [3]), ("?with=3", [3]), ("", [3])):
        document = attacked.read(f"/models/shared/versions/1{query}", DEE)
        assert document["others"] == others
        assert bool(document["compared"]) is (query == "?with=3")
        assert "kims-secret" not in attacked.send("GET", f"/models/shared/versions/1{query}", who=DEE).text
    assert attacked.read("/models/shared/versions/1?with=2", ANN)["compared"]


def test_a_requester_withdraws_and_asks_again(attacked: Attacked) -> None:
    attacked.register("mine")
    link = attacked.link("mine:1:dev:1")
    assert attacked.post(f"{link}/withdraw", EVE).status == 403
    assert attacked.post(f"{link}/withdraw", ANN).status == 403, "an approver rejects"
    assert attacked.post(f"{link}/withdraw", DEE, csrf=None).status == 403
    attacked.took(attacked.post(f"{link}/withdraw", DEE, {"reason": "Wrong data."}))
    page = attacked.read(link, ANN)
    assert (page["state"], page["may_decide"], page["may_reject"]) == ("Withdrawn", False, False)
    assert attacked.decide("mine:1:dev:1", ANN).status == 409
    assert attacked.post(f"{link}/withdraw", DEE).status == 409
    client, arn = attacked.aws("sagemaker"), attacked.packages["mine"][0]

    def in_registry() -> bool:
        found = client.describe_model_package(ModelPackageName=arn)
        return bool(found["CustomerMetadataProperties"].get("dev") == "Withdrawn")

    attacked.wait_for(in_registry)
    again = attacked.post(f"{link}/again", DEE, {"reason": "The data was right after all."})
    attacked.took(again)
    assert again.headers["location"].endswith(attacked.link("mine:1:dev:2"))
    attacked.took(attacked.decide("mine:1:dev:2", ANN))


def test_a_requester_is_told_at_once_what_stops_a_version(attacked: Attacked) -> None:
    attacked.register("no-bytes", without_artifact=True)
    attacked.wait_for(lambda: attacked.mails("no-bytes v1: stopped", "dee@example.com"))
    told = attacked.mails("no-bytes v1: stopped", "dee@example.com")[0]
    assert "there is no object at" in " ".join(told["text"].split())
    assert told["links"][0].endswith(attacked.link("no-bytes:1:dev:1"))
    assert attacked.send("GET", attacked.link("no-bytes:1:dev:1"), who=DEE).status == 200


def test_team_and_requester_hear_at_once_that_nothing_measures_a_version(attacked: Attacked) -> None:
    attacked.register("unmeasured")
    attacked.took(attacked.decide("unmeasured:1:dev:1", ANN))
    report = {
        "environment": "dev", "model_package_group": "unmeasured", "model_package_version": 1, "run_id": "dev-v1",
        "status": "Skipped", "reason": "There is no input at s3://promotion-models/unmeasured/dev/input.jsonl",
    }  # fmt: skip
    for _ in range(2):
        assert "refused" not in attacked.invoke("on_inference_completed", {"detail": report})
    attacked.wait_for(lambda: attacked.mails("unmeasured v1: not measured in dev", "dee@example.com"))
    everybody = attacked.mails("unmeasured v1: not measured")
    assert sorted(mail["to"] for mail in everybody) == [["ann@example.com", "ben@example.com"], ["dee@example.com"]]
    assert "promotion report unmeasured dev 1 --metrics FILE" in " ".join(everybody[0]["text"].split())
    page = attacked.read("/models/unmeasured/versions/1")
    assert "was not measured in dev: There is no input" in page["events"][0]["sentence"]
    # What is reported later asks as a run does.
    attacked.ran("unmeasured", 1, "dev", 0.9, run_id="late")
    attacked.asked("unmeasured:1:test:1")
