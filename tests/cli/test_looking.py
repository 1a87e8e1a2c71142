"""`promotion diff`, `open` and `notify`, and what is said where there is nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from msgspec.structs import replace

from promotion import cli, names
from promotion.aws.messages import channels as aws_channels
from promotion.cli import reading, service
from promotion.cli.tables import table
from promotion.client import resolve as client
from promotion.client.place import check_environment, installation
from promotion.config.loading import Config
from promotion.config.settings import Channel
from promotion.domain.model import Evidence, Metric
from promotion.errors import Invalid, NotApproved
from promotion.ledger.append import checked_reason
from tests.fakes import as_client
from tests.rules import scenarios
from tests.rules.scenario import CONFIG, Scenario

INSTALLATION = {"api_url": "https://promotion.example.com", "inference_machines": {"dev": "", "test": "", "prod": ""}}


class Ledger:
    """The ledger of a story, as the commands read it."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario

    def version(self, group: str, number: int) -> Any:
        return self.scenario.view.find_version(number) if group == self.scenario.group else None

    def head(self, group: str) -> Any:
        return SimpleNamespace(sequence=len(self.scenario.events) if group == self.scenario.group else 0)

    def events(self, group: str) -> list[Any]:
        return self.scenario.events if group == self.scenario.group else []

    def view(self, group: str) -> Any:
        return self.scenario.view

    def environments(self, unreadable: list[str]) -> Iterator[Any]:
        return iter(self.scenario.view.environments.values())


@pytest.fixture
def scenario(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Scenario:
    """A service whose ledger holds two versions, seen from a folder without a promotion.toml."""
    scenario = scenarios.open_gate()
    monkeypatch.delenv(names.CONFIG, raising=False)
    monkeypatch.chdir(tmp_path)
    for module in (service, reading):
        monkeypatch.setattr(module, "ledger", lambda: Ledger(scenario))
        monkeypatch.setattr(module, "installation", lambda: INSTALLATION)
    return scenario


def test_two_versions_side_by_side(scenario: Scenario, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["diff", scenario.group, "1", "2"]) == 0
    said = capsys.readouterr().out
    assert "measured in dev:" in said
    assert "rougeL" in said
    assert "+0.02 within the noise" in said
    assert "training_data       news-2026-01  news-2026-02" in said


def test_a_version_beside_itself_differs_in_nothing(scenario: Scenario, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["diff", scenario.group, "2", "2"]) == 0
    said = "Nothing differs in the package: same bytes, image, settings and metadata.\n"
    assert capsys.readouterr().out.endswith(said)


def test_a_metric_of_one_version_alone_has_no_change(scenario: Scenario, capsys: pytest.CaptureFixture[str]) -> None:
    for version, name in ((3, "bleu"), (4, "chrf")):
        scenario.registers(version, evidence=Evidence(source="registration", metrics={name: Metric(value=30.0)}))
    assert cli.main(["diff", scenario.group, "3", "4"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:4]]
    assert sorted(rows) == [["bleu", "30", "-", "-"], ["chrf", "-", "30", "-"]]


def test_two_versions_that_nobody_measured_are_compared_by_their_packages(
    scenario: Scenario, capsys: pytest.CaptureFixture[str]
) -> None:
    for version in (3, 4):
        scenario.registers(version, evidence=Evidence(source="registration", metrics={}))
    assert cli.main(["diff", scenario.group, "3", "4"]) == 0
    assert capsys.readouterr().out.startswith("There is no place where both were measured.\nPACKAGE ")


def test_the_difference_as_json(scenario: Scenario, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--json", "diff", scenario.group, "2", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["version"], found["with"]) == (1, 2)
    assert {part["place"] for part in found["parts"]} == {"registered", "dev"}


def test_a_version_that_is_not_there_is_named(scenario: Scenario, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["diff", scenario.group, "1", "99"]) == cli.TROUBLE
    assert "has no version 99" in capsys.readouterr().err


def test_the_address_of_a_page(scenario: Scenario, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["open", scenario.group]) == 0
    assert cli.main(["open", scenario.group, "2"]) == 0
    assert capsys.readouterr().out.split() == [
        f"https://promotion.example.com/models/{scenario.group}",
        f"https://promotion.example.com/models/{scenario.group}/versions/2",
    ]
    assert cli.main(["open", "nothing"]) == cli.TROUBLE
    assert cli.main(["open", scenario.group, "9"]) == cli.TROUBLE


def test_status_needs_no_configuration(scenario: Scenario, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status"]) == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()[1:3]] == ["dev", "test"]


def test_a_configuration_that_is_named_and_missing_is_no_reason_to_look_elsewhere(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(names.CONFIG, "nothing.toml")
    with pytest.raises(Invalid, match="there is no such file"):
        service.config_of(scenario.group)


def test_without_a_file_the_policy_is_that_of_the_ledger(
    scenario: Scenario, capsys: pytest.CaptureFixture[str]
) -> None:
    found: Config = service.config_of(scenario.group)
    assert found.environment_names == CONFIG.environment_names
    assert found.environment("test", scenario.group).gates == CONFIG.environment("test", scenario.group).gates
    with pytest.raises(Invalid, match="there is no such file"):
        service.config_of("nothing")
    assert cli.main(["gates", "explain", scenario.group, "2", "test"]) == 0
    assert "All passed." in capsys.readouterr().out


class Topics:
    """SNS, which takes what it is given."""

    def __init__(self) -> None:
        self.published: list[dict[str, Any]] = []

    def publish(self, **given: Any) -> None:
        self.published.append(given)


def test_a_test_message_goes_to_each_channel_and_says_what_came_of_it(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sns = Topics()

    class Deaf:
        def notify(self, told: Any) -> None:
            raise aws_channels.ChannelFailed("the webhook answered 404")

    own = aws_channels.sender
    monkeypatch.setattr(
        aws_channels, "sender", lambda channel, client: own(channel, client) if channel.topic else Deaf()
    )
    channels = {"topic": Channel(topic="arn:aws:sns:us-east-1:1:t"), "chat": Channel(webhook_secret="arn")}
    monkeypatch.setattr(service, "config", lambda: replace(CONFIG, channels=channels))
    monkeypatch.setattr(service, "client", lambda name: sns)
    assert cli.main(["notify", "--test"]) == cli.TROUBLE
    assert capsys.readouterr().out.splitlines() == ["topic: sent", "chat: the webhook answered 404"]
    assert cli.main(["notify", "--test", "--json"]) == cli.TROUBLE
    said = {"sent": False, "problem": "the webhook answered 404"}
    assert json.loads(capsys.readouterr().out) == {"topic": {"sent": True, "problem": ""}, "chat": said}
    sns.published.clear()
    assert cli.main(["notify", "topic", "--test"]) == 0
    assert len(sns.published) == 1
    assert sns.published[0]["Subject"] == "Test of this channel"
    assert set(sns.published[0]["MessageAttributes"]) == {"kind"}
    assert cli.main(["notify", "nothing", "--test"]) == cli.TROUBLE


def test_without_channels_the_message_says_where_examples_are(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(service, "config", lambda: replace(CONFIG, channels={}))
    assert cli.main(["notify", "--test"]) == cli.TROUBLE
    assert "docs/channels.md has examples" in capsys.readouterr().err


def test_nothing_is_sent_by_mistake(scenario: Scenario) -> None:
    with pytest.raises(SystemExit):
        cli.main(["notify"])


def test_a_table_fits_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    table([("GROUP", "ENV"), ("a" * 100, "dev")], width=40)
    assert capsys.readouterr().out.splitlines() == ["GROUP".ljust(35) + "  ENV", "a" * 34 + "…  dev"]


def test_a_table_is_as_wide_as_its_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    table([("GROUP", "ENV"), ("a" * 100, "dev")])
    assert {len(line) for line in capsys.readouterr().out.splitlines()} == {40}


def test_a_table_that_is_piped_keeps_every_character(capsys: pytest.CaptureFixture[str]) -> None:
    table([("GROUP",), ("a" * 150,)])
    assert "a" * 150 in capsys.readouterr().out


def test_a_reason_of_2000_bytes_is_taken() -> None:
    assert checked_reason("x" * 2000) == "x" * 2000
    with pytest.raises(Invalid, match="about 1 character too long"):
        checked_reason("x" * 2001)


def test_a_version_resolved_in_one_region_is_missing_in_another(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        for region in ("us-east-1", "eu-west-1"):
            monkeypatch.setenv("AWS_REGION", region)
            monkeypatch.setenv("AWS_DEFAULT_REGION", region)
            with pytest.raises(NotApproved, match=f"in {region}"):
                client.resolve("news", "dev", cache_seconds=60)
        assert boto3.client("ssm").meta.region_name == "eu-west-1"


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A service in one region, seen by what a pipeline installs: boto3 and cryptography."""
    for name in ("msgspec", "promotion.cli.service"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "us-east-1")
    with mock_aws():
        boto3.client("ssm").put_parameter(Name="/promotion/_service", Value=json.dumps(INSTALLATION), Type="String")
        yield


@pytest.mark.usefixtures("deployed")
def test_a_pipeline_is_told_a_misspelt_environment_from_one_with_nothing_approved(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["resolve", "news", "test"]) == cli.NOTHING_APPROVED
    said = capsys.readouterr().err
    assert "there is no /promotion/news/test/live in us-east-1. You are in account 123456789012, us-east-1." in said
    assert cli.main(["resolve", "news", "tst"]) == cli.TROUBLE
    assert "there is no environment tst; there are dev, test, prod" in capsys.readouterr().err


@pytest.mark.usefixtures("deployed")
def test_a_pipeline_is_told_of_another_region_or_prefix(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(names.PREFIX, "/other")
    assert cli.main(["resolve", "news", "test"]) == cli.TROUBLE
    assert "no service is deployed in account 123456789012, us-east-1" in capsys.readouterr().err
    monkeypatch.delenv(names.PREFIX)
    assert cli.main(["--region", "eu-west-1", "resolve", "news", "test"]) == cli.TROUBLE
    assert "account 123456789012, eu-west-1" in capsys.readouterr().err


@pytest.mark.usefixtures("deployed")
def test_the_account_is_left_out_where_it_can_not_be_asked_for() -> None:
    class Sts:
        def get_caller_identity(self) -> dict[str, str]:
            raise ClientError({"Error": {"Code": "ExpiredToken", "Message": "expired"}}, "GetCallerIdentity")

    ssm = boto3.client("ssm")
    ssm.delete_parameter(Name="/promotion/_service")
    with pytest.raises(Invalid, match=r"no service is deployed in us-east-1; is PROMOTION_PREFIX"):
        installation(ssm, as_client(Sts()), "/promotion")


@pytest.mark.usefixtures("deployed")
@pytest.mark.parametrize("value", ["[", "[1]", "null"])
def test_a_stacks_parameter_that_was_overwritten_is_named(value: str) -> None:
    ssm = boto3.client("ssm")
    ssm.put_parameter(Name="/promotion/_service", Value=value, Type="String", Overwrite=True)
    with pytest.raises(Invalid, match=r"^/promotion/_service: this is not what the stack wrote; deploy it again\.$"):
        installation(ssm, boto3.client("sts"), "/promotion")


@pytest.mark.usefixtures("deployed")
def test_in_an_environments_own_account_nothing_approved_is_told_from_a_misspelt_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ssm = boto3.client("ssm")
    ssm.delete_parameter(Name="/promotion/_service")
    ssm.put_parameter(Name="/promotion/_environment/prod", Value="123456789012", Type="String")
    assert cli.main(["resolve", "news", "prod"]) == cli.NOTHING_APPROVED
    assert cli.main(["resolve", "news", "prd"]) == cli.TROUBLE
    assert "no service is deployed in account 123456789012, us-east-1" in capsys.readouterr().err


@pytest.mark.usefixtures("deployed")
@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("AccessDeniedException", nullcontext()),
        ("ParameterNotFound", pytest.raises(Invalid, match="no service is deployed in account 123456789012")),
    ],
)
def test_a_pipeline_that_may_not_read_whose_account_it_is_in_is_not_told_that_a_service_is_missing(
    code: str, outcome: AbstractContextManager[object]
) -> None:
    ssm = boto3.client("ssm")

    class Ssm:
        """Has no service, and answers about the environment with this error."""

        exceptions, meta = ssm.exceptions, ssm.meta

        def get_parameter(self, *, Name: str) -> Any:  # noqa: N803
            error = code if Name == names.environment_parameter("/promotion", "prod") else "ParameterNotFound"
            made = ssm.exceptions.ParameterNotFound if error == "ParameterNotFound" else ClientError
            raise made({"Error": {"Code": error, "Message": "no"}}, "GetParameter")

    with outcome:
        check_environment(as_client(Ssm()), boto3.client("sts"), "/promotion", "prod")


@pytest.mark.usefixtures("deployed")
def test_a_pipeline_that_may_not_look_at_the_service_is_told_that_nothing_is_approved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def denied(*_: object) -> dict[str, Any]:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "GetParameter")

    monkeypatch.setattr("promotion.client.place.installation", denied)
    assert cli.main(["resolve", "news", "tst"]) == cli.NOTHING_APPROVED
