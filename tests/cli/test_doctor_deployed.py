"""`promotion doctor` on a deployed service: tables, queues, policy, release, keys, mail."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import boto3
import pytest
from botocore.stub import Stubber

from promotion import names
from promotion.aws.doctor import deployed as condition
from promotion.aws.doctor import limits, upgrade
from promotion.aws.doctor.findings import Account, Finding
from promotion.config.loading import parse
from promotion.domain.model import FOLD_VERSION
from tests.adapters.conftest import LEDGER, PROJECTIONS, Aws
from tests.cli.doctor_account import account, by_check, deployed
from tests.fakes import CONFIG, CONFIG_TEXT, GROUP, FakeService


def test_a_sound_deployment_has_nothing_to_say_but_what_nobody_did_yet(aws: Aws) -> None:
    service = deployed(aws)
    here = account(service=service)
    found = by_check([*condition.tables(here), *condition.queues(here), *condition.policy(here)])
    assert {each.state for each in found.values()} == {"ok"}
    found = by_check([*condition.client_secret(here), *condition.alarms(here)])
    assert {name: each.state for name, each in found.items()} == {"client secret": "fail", "alarms": "warn"}
    aws.client("secretsmanager").put_secret_value(SecretId=service["identity_secret_arn"], SecretString='{"a": 1}')
    aws.client("sns").subscribe(TopicArn=service["alarm_topic"], Protocol="sms", Endpoint="+15550100")
    found = by_check([*condition.client_secret(here), *condition.alarms(here)])
    assert {each.state for each in found.values()} == {"ok"}


@pytest.mark.parametrize(
    ("service", "state"), [({}, "not checked"), ({"release": "0.0.9"}, "warn"), ({"release": names.RELEASE}, "ok")]
)
def test_another_release_than_the_deployed_one_is_said_with_where_to_read(service: dict[str, str], state: str) -> None:
    (found,) = upgrade.release(account(service=service))
    assert found.state == state
    assert ("UPGRADING.md" in found.do) == (state == "warn")


def test_the_release_is_the_distributions() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == names.RELEASE


def test_states_of_another_fold_are_counted_and_are_no_failure(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeService()
    fake.promote(1, "dev")
    monkeypatch.setattr(upgrade, "DynamoLedger", lambda client, table: fake.ledger)
    here = account(service={"ledger_table": LEDGER})
    (found,) = upgrade.states(here)
    assert (found.state, found.found) == ("ok", f"1 environment state, all of fold {FOLD_VERSION}.")
    fake.ledger.alter(GROUP, "ENV#dev", fold=FOLD_VERSION + 1)
    (found,) = upgrade.states(here)
    assert (found.state, f"of fold {FOLD_VERSION + 1}" in found.found) == ("ok", True)
    assert "rebuild --states" in found.do


@pytest.mark.parametrize(("limit", "state"), [(10_000, "ok"), (4, "warn")])
def test_parameters_near_the_limit_are_told_of(
    aws: Aws, monkeypatch: pytest.MonkeyPatch, limit: int, state: str
) -> None:
    for name in ("/promotion/a/dev/live", "/promotion/a/versions/1", "/promotion/b/dev/live", "/elsewhere/x"):
        aws.ssm.put_parameter(Name=name, Value="{}", Type="String")
    monkeypatch.setattr(names, "MOST_PARAMETERS", limit)
    (found,) = limits.parameters(account())
    assert (found.state, found.found.startswith("3 under /promotion")) == (state, True)
    assert ("What grows" in found.do) == (state == "warn")


def test_a_message_in_the_dead_letter_queue_is_a_failure(aws: Aws) -> None:
    service = deployed(aws)
    aws.client("sqs").send_message(QueueUrl=service["dead_letter_queue_url"], MessageBody="{}")
    found = by_check(list(condition.queues(account(service=service))))
    assert (found["dead letters"].state, found["undelivered"].state) == ("fail", "ok")
    assert "promotion redrive" in found["dead letters"].do


def test_many_waiting_changes_are_warned_of(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(condition, "MANY_WAITING", 1)
    service = deployed(aws)
    del service["undelivered_queue_url"]
    for _ in range(2):
        aws.client("sqs").send_message(QueueUrl=service["wake_queue_url"], MessageBody="{}")
    found = by_check(list(condition.queues(account(service=service))))
    assert (found["queue"].state, found["queue"].found) == ("warn", "2 changes waiting for the projector.")
    assert found.keys() == {"queue", "dead letters"}


@pytest.mark.parametrize("check", [condition.client_secret, condition.alarms])
def test_what_an_older_deployment_does_not_say_is_not_checked(check: Callable[[Account], Iterable[Finding]]) -> None:
    (found,) = check(account(service={}))
    assert (found.state, found.do) == ("not checked", "Deploy again.")


def test_a_ledger_that_can_be_deleted_is_warned_of(aws: Aws) -> None:
    service = deployed(aws)
    aws.dynamodb.update_table(TableName=LEDGER, DeletionProtectionEnabled=False)
    found = by_check(list(condition.tables(account(service=service))))
    assert (found["ledger"].state, "may be deleted" in found["ledger"].found) == ("warn", True)


def test_a_table_that_is_not_active_is_a_failure() -> None:
    client = boto3.client("dynamodb")
    with Stubber(client) as stub:
        for _ in range(2):
            stub.add_response("describe_table", {"Table": {"TableStatus": "UPDATING"}})
            status = {"ContinuousBackupsStatus": "ENABLED"}
            stub.add_response("describe_continuous_backups", {"ContinuousBackupsDescription": status})
        service = {"ledger_table": LEDGER, "projections_table": PROJECTIONS}
        found = list(condition.tables(account(client=lambda service: client, service=service)))
    assert [(each.state, each.found) for each in found] == [
        ("fail", f"{name} is UPDATING.") for name in (LEDGER, PROJECTIONS)
    ]


def test_a_ledger_whose_stream_was_switched_off_is_a_failure(aws: Aws) -> None:
    service = deployed(aws)
    aws.dynamodb.update_table(TableName=LEDGER, StreamSpecification={"StreamEnabled": False})
    found = by_check(list(condition.tables(account(service=service))))
    assert (found["ledger"].state, found["projections"].state) == ("fail", "ok")


def test_another_policy_than_the_deployed_one_is_said(aws: Aws) -> None:
    other = parse(CONFIG_TEXT.replace("quorum = 2", "quorum = 1"))
    (found,) = condition.policy(account(other, service={"policy_digest": CONFIG.policy_digest()}))
    assert found.state == "warn"
    (found,) = condition.policy(account(service={}))
    assert found.state == "not checked"


def test_a_renamed_environment_with_a_live_model_is_said(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeService()
    fake.promote(1, "dev")
    monkeypatch.setattr(condition, "DynamoLedger", lambda client, table: fake.ledger)
    here = {"ledger_table": LEDGER}
    (found,) = condition.environments(account(service=here))
    assert found.state == "ok"
    renamed = parse(CONFIG_TEXT.replace('name = "dev"\n', 'name = "development"\n'))
    (found,) = condition.environments(account(renamed, service=here))
    assert (found.state, f"/promotion/{GROUP}/dev/live" in found.do) == ("warn", True)
    ungoverned = parse(CONFIG_TEXT.replace('groups = ["*"]', 'groups = ["other"]', 1))
    (found,) = condition.environments(account(ungoverned, service=here))
    assert (found.state, GROUP in found.found) == ("warn", True)


class Pages(HTTPServer):
    """A deployment's pages and its identity provider; `answers` has the status and the redirect of each path."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.answers: dict[str, tuple[int, str]] = {"/healthz": (200, "")}


class _Answers(BaseHTTPRequestHandler):
    server: Pages

    def do_GET(self) -> None:
        status, location = self.server.answers.get(self.path.partition("?")[0], (404, ""))
        self.send_response(status)
        self.send_header("location", location)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def served() -> Iterator[Pages]:
    with Pages() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def looked_at(served: Pages) -> dict[str, Finding]:
    return by_check(list(condition.pages(account(service={"api_url": served.url}))))


def test_a_sign_in_that_fails_names_the_log_of_its_own_function(served: Pages) -> None:
    served.answers["/login"] = (503, "")
    found = looked_at(served)
    assert (found["pages"].state, found["sign-in"].state) == ("ok", "fail")
    assert "`sign_in`" in found["sign-in"].do


def test_pages_that_answer_with_an_error_name_their_log(served: Pages) -> None:
    served.answers["/healthz"] = (502, "")
    (found,) = looked_at(served).values()
    assert (found.state, found.found) == ("fail", f"{served.url}/healthz answered 502.")
    assert "`web`" in found.do


@pytest.mark.parametrize("query", ["redirect_uri={back}&state=x", "client_id=promotion&request_uri=urn:pushed"])
@pytest.mark.parametrize("status", [200, 302, 400])
def test_the_provider_has_to_take_this_deployments_address(served: Pages, query: str, status: int) -> None:
    """A pushed authorization request has the address only in what was pushed."""
    back = f"{served.url}/callback"
    served.answers |= {"/login": (302, f"{served.url}/authorize?{query.format(back=back)}"), "/authorize": (status, "")}
    found = looked_at(served)["sign-in"]
    if status < 400:
        assert (found.state, found.found) == ("ok", f"the provider takes {back}.")
    else:
        assert (found.state, found.found) == ("fail", "the provider answered 400 to a sign-in.")
        assert f"Enter {back} as the redirect URI" in found.do


def test_a_provider_that_this_machine_does_not_reach_is_not_checked(served: Pages) -> None:
    served.answers["/login"] = (302, "http://127.0.0.1:9/authorize")
    found = looked_at(served)["sign-in"]
    assert (found.state, "ConnectionError" in found.found) == ("not checked", True)
