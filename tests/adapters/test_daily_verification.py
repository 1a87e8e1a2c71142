"""The daily verification against AWS as moto has it: anchors, differences, checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import boto3
import pytest
from botocore.exceptions import ClientError

from lambdas.handlers import verify as daily
from promotion import names
from promotion.aws.ledger_table.differences import SERVICE, DynamoDifferences
from promotion.ledger.checkpoint import Checkpoint
from promotion.ledger.events import OpenDifferences
from tests.adapters.running import LIVE, Command, tamper
from tests.fakes import BEGINNING, GROUP, PREFIX
from tests.faults import resources
from tests.faults.simulation import Simulation


def test_the_daily_function_anchors_what_is_whole_once(running: Simulation, capsys: pytest.CaptureFixture[str]) -> None:
    assert daily.handler({}, None)["anchored"] == 1
    assert daily.handler({}, None)["anchored"] == 0
    metrics = [json.loads(line) for line in capsys.readouterr().out.splitlines() if names.DIFFERENCES_METRIC in line]
    assert metrics[0][names.DIFFERENCES_METRIC] == [0.0]
    assert metrics[0]["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "Promotion"
    listed = boto3.client("s3").list_objects_v2(Bucket=resources.ANCHORS, Prefix="heads/")
    [key] = [found["Key"] for found in listed["Contents"]]
    assert key.startswith(f"heads/{GROUP}/0000000005-")


def test_the_daily_function_counts_differences_and_anchors_no_broken_chain(running: Simulation) -> None:
    tamper()
    assert daily.handler({}, None) == {"groups": 1, "differences": 1, "anchored": 1, "queued": 0}
    table = boto3.resource("dynamodb").Table("ledger")
    table.delete_item(Key={"pk": f"GROUP#{GROUP}", "sk": "EVENT#0000000003"})
    found = daily.handler({}, None)
    assert (found["anchored"], found["differences"] > 0) == (0, True)


@pytest.fixture
def several(running: Simulation) -> list[str]:
    """Two groups beside the first, one of them with a parameter that somebody wrote over."""
    for group in ("churn", "fraud"):
        boto3.client("sagemaker").create_model_package_group(ModelPackageGroupName=group)
        running.register(group=group)
    running.settle()
    tamper(f"{PREFIX}/fraud/versions/1")
    return ["churn", "fraud", GROUP]


def anchored() -> set[str]:
    found = boto3.client("s3").list_objects_v2(Bucket=resources.ANCHORS, Prefix="heads/").get("Contents", [])
    return {each["Key"].split("/")[1] for each in found}


def counted(said: str, metric: str) -> list[float]:
    return [json.loads(line)[metric][0] for line in said.splitlines() if f'"{metric}":[' in line.replace(" ", "")]


def test_pages_of_a_large_installation_go_through_the_queue(
    running: Simulation, several: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(daily, "PAGE", 2)
    capsys.readouterr()
    assert daily.handler({}, None) == {"groups": 0, "differences": 0, "anchored": 0, "queued": 3}
    queued = [json.loads(event["Records"][0]["body"])["groups"] for _, event, _ in running.asynchronous]
    assert queued == [several[:2], several[2:]]
    assert anchored() == set()
    running.settle()
    assert anchored() == set(several)
    assert counted(capsys.readouterr().out, names.DIFFERENCES_METRIC) == [0.0, 1.0, 0.0]


class RunsOut:
    """A call of a function that has time for so many groups."""

    def __init__(self, groups: int, then: int = 100_000) -> None:
        self._left, self._then = groups, then

    def get_remaining_time_in_millis(self) -> int:
        self._left -= 1
        return 900_000 if self._left > 0 else self._then


def test_a_call_whose_time_is_nearly_over_is_gone_on_with_by_another(running: Simulation, several: list[str]) -> None:
    found = daily.handler({}, RunsOut(groups=2))
    assert (found["groups"], found["differences"], found["queued"]) == (2, 1, 1)
    assert anchored() == set(several[:2])
    running.settle()
    assert anchored() == set(several)


def test_a_call_whose_time_ends_while_groups_settle_passes_them_on(running: Simulation, several: list[str]) -> None:
    for group in several:
        boto3.client("ssm").put_parameter(Name=f"{PREFIX}/{group}/canary/live", Value="{}", Type="String")
    found = daily.handler({}, RunsOut(groups=3, then=50_000))
    assert found["groups"] == 1
    assert found["queued"] == 2
    [message] = [event["Records"][0]["body"] for _, event, _ in running.asynchronous]
    assert json.loads(message)["groups"] == sorted(several)[1:]
    assert set(DynamoDifferences(boto3.client("dynamodb"), "projections").open()) == {sorted(several)[0]}
    running.settle()
    assert set(DynamoDifferences(boto3.client("dynamodb"), "projections").open()) == set(several)


def kept() -> Checkpoint | None:
    checkpoints = daily.installation().checkpoints
    assert checkpoints is not None
    return checkpoints.read(GROUP)


def test_a_verification_that_finds_nothing_is_gone_on_from(running: Simulation) -> None:
    assert kept() is None
    daily.handler({}, None)
    first = kept()
    assert first is not None
    assert first.sequence == 5
    running.inside = False
    running.measure(1, "dev")
    running.settle()
    running.inside = True
    daily.handler({}, None)
    second = kept()
    assert second is not None
    assert (second.sequence > 5, second.whole_at) == (True, first.whole_at)


def test_after_a_difference_the_last_checkpoint_stays(running: Simulation) -> None:
    daily.handler({}, None)
    first = kept()
    tamper()
    assert daily.handler({}, None)["differences"] == 1
    assert kept() == first


@pytest.mark.parametrize("edit", [lambda text: text.replace(b'"live":1', b'"live":2'), lambda text: b"["])
def test_a_checkpoint_that_was_edited_is_not_gone_on_from(running: Simulation, edit: Callable[[bytes], bytes]) -> None:
    daily.handler({}, None)
    bucket = boto3.resource("s3").Bucket(resources.EVIDENCE)
    [found] = list(bucket.objects.filter(Prefix=f"{names.CHECKPOINTS}/"))
    text = found.get()["Body"].read()
    assert edit(text) != text
    bucket.put_object(Key=found.key, Body=edit(text))
    assert kept() is None
    assert daily.handler({}, None)["differences"] == 0
    assert kept() is not None


def test_a_difference_is_open_from_its_first_finding_until_it_is_repaired(
    running: Simulation, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DynamoDifferences(boto3.client("dynamodb"), "projections")
    daily.handler({}, None)
    assert store.open() == {}
    tamper()
    tamper(f"{PREFIX}/stranger/dev/live")
    daily.handler({}, None)
    first = store.open()
    assert (first[GROUP].count, first[SERVICE].count) == (1, 1)
    assert first[GROUP].lines[0].startswith(f"parameter {LIVE}: expected")
    monkeypatch.setattr(daily, "now", lambda: BEGINNING + timedelta(days=900))
    daily.handler({}, None)
    assert store.open() == first, "since when is kept"
    assert f"{GROUP}: 1 difference since " in command("status")[1]
    assert command("verify", GROUP, "--repair")[0] == 0
    assert list(store.open()) == [SERVICE], "a repair ends the mark of its group"
    boto3.client("ssm").delete_parameter(Name=f"{PREFIX}/stranger/dev/live")
    daily.handler({}, None)
    assert store.open() == {}


@pytest.mark.parametrize("broken", ["open", "keep"])
def test_marks_that_fail_hold_up_neither_verification_nor_anchors(
    running: Simulation, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    class Failing(DynamoDifferences):
        def open(self) -> dict[str, OpenDifferences]:
            return {} if broken == "keep" else self._fails()

        def keep(self, *given: object) -> None:
            self._fails()

        def _fails(self) -> dict[str, OpenDifferences]:
            raise ClientError({"Error": {"Code": "ThrottlingException"}}, "Query")

    monkeypatch.setattr(daily, "DynamoDifferences", Failing)
    tamper()
    assert daily.handler({}, None) == {"groups": 1, "differences": 1, "anchored": 1, "queued": 0}
