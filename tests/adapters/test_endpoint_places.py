"""Where an endpoint is: in the account of its environment; and what happens to it when that is no longer configured."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from lambdas.handlers import on_live_changed
from promotion import names
from promotion.aws.accounts import Accounts
from promotion.config.loading import parse
from promotion.domain.model import EndpointState
from promotion.errors import Invalid
from promotion.workflows.endpoints import record_endpoint
from tests.adapters.conftest import Aws, SageMakerDriver
from tests.adapters.endpoint_installation import NAME, SECTION, TEXT, Installation
from tests.fakes import CONFIG_TEXT, GROUP, PREFIX, raises
from tests.faults.fault import made_to_fail

THERE = "444444444444"
OWN = '[registry]\naccount = "123456789012"\nregion = "us-east-1"\n[artifacts]\nbuckets = ["models"]\n'


@pytest.fixture
def made(aws: Aws, hand: SageMakerDriver, monkeypatch: pytest.MonkeyPatch) -> Installation:
    return Installation(aws, hand, monkeypatch)


def test_an_environment_of_another_account_serves_there(
    made: Installation, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = TEXT.replace('name = "dev"', f'name = "dev"\naccount = "{THERE}"', 1)
    made.fake.config = parse(f"{text}{OWN}")
    there = Accounts(aws.client("sts"), made.fake.config.cross_account, prefix=PREFIX, purpose="endpoints")
    monkeypatch.setattr(on_live_changed, "cross_account", {"endpoints": there}.__getitem__)
    made.promote(1)
    assert made.step() == "create"
    assert not made.exists
    endpoint, _ = made.hand.deploying[-1]
    assert f":{THERE}:endpoint/{NAME}" in endpoint.arn
    made.ends_well()
    assert made.step() == "settled"
    assert made.known.status == names.ENDPOINT_IN_SERVICE


def test_an_endpoint_of_an_environment_that_is_no_longer_configured_is_deleted(made: Installation) -> None:
    made.serve(1)
    before, _, after = CONFIG_TEXT.partition('[[environments]]\nname = "dev"')
    made.fake.config = parse(before + after[after.index("[[environments]]") :])
    assert made.step() == "delete"
    made.is_gone()
    made.step()
    assert made.known.status == names.ENDPOINT_WITHDRAWN
    made.fake.project()
    assert made.wake() == {}


def test_nothing_is_recorded_of_an_environment_that_never_was(made: Installation) -> None:
    made.promote(1)
    before, seen = made.fake.events(), EndpointState(name=NAME, status=names.ENDPOINT_IN_SERVICE, version=1)
    with pytest.raises(Invalid, match="there is no environment 'elsewhere'"):
        record_endpoint(GROUP, "elsewhere", 1, seen, context=made.fake.context)
    assert made.fake.events() == before


def test_an_error_of_sagemaker_itself_is_raised_so_that_the_event_is_delivered_again(
    made: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.promote(1)
    create = made.sagemaker.create_endpoint

    monkeypatch.setattr(made.sagemaker, "create_endpoint", raises(made_to_fail("InternalFailure", "CreateEndpoint")))
    event = {"detail-type": names.MODEL_PROMOTED, "detail": {"model_package_group": GROUP, "environment": "dev"}}
    with pytest.raises(ClientError, match="InternalFailure"):
        made.wake(**event)
    assert (made.known.status, made.known.problem) == ("", "")
    monkeypatch.setattr(made.sagemaker, "create_endpoint", create)
    assert made.wake(**event) == {f"{GROUP}/dev": "create"}


@pytest.mark.parametrize("call", ["describe_endpoint_config", "delete_endpoint", "delete_model"])
def test_an_error_on_the_way_to_an_endpoints_end_is_raised_and_the_next_wake_goes_on(
    made: Installation, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    made.serve(1)
    made.fake.revoke(1)
    made.fake.project()
    given = getattr(made.sagemaker, call)

    def to_the_end() -> None:
        assert made.step() == "delete"
        made.is_gone()
        assert made.step() == "settled"

    monkeypatch.setattr(made.sagemaker, call, raises(made_to_fail("InternalFailure", call)))
    with pytest.raises(ClientError, match="InternalFailure"):
        to_the_end()
    monkeypatch.setattr(made.sagemaker, call, given)
    if made.exists:
        to_the_end()
    else:
        assert made.step() == "settled"
    assert (made.configs(), made.models(), made.alarms()) == ([], [], set())


def test_an_environment_without_endpoints_has_none_to_follow(made: Installation) -> None:
    made.fake.config = parse(TEXT.replace(SECTION, ""))
    made.promote(1)
    event = {"detail-type": names.MODEL_PROMOTED, "detail": {"model_package_group": GROUP, "environment": "dev"}}
    assert made.wake(**event) == {}
    assert not made.exists
