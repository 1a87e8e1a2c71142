"""The function that follows what is live, over moto's SageMaker: every way from what is to what should be, and no further."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from lambdas.handlers import on_live_changed
from promotion import names
from promotion.aws.sagemaker.sagemaker_endpoints import Endpoints
from promotion.config.loading import Config, parse
from promotion.domain import endpoint_plan
from promotion.workflows import endpoints as hosting
from tests.adapters.conftest import Aws, SageMakerDriver
from tests.adapters.endpoint_installation import NAME, ROLE, SECTION, TEXT, Installation
from tests.fakes import GROUP, OPERATOR, PREFIX, a_package


@pytest.fixture
def made(aws: Aws, hand: SageMakerDriver, monkeypatch: pytest.MonkeyPatch) -> Installation:
    return Installation(aws, hand, monkeypatch)


def test_a_promotion_makes_an_endpoint_and_its_alarms(made: Installation) -> None:
    made.promote(1)
    event = {"detail-type": names.MODEL_PROMOTED, "detail": {"model_package_group": GROUP, "environment": "dev"}}
    assert made.wake(**event) == {f"{GROUP}/dev": "create"}
    assert made.described["EndpointStatus"] == "Creating"
    assert made.alarms() == {f"{NAME}-errors", f"{NAME}-latency"}
    assert made.step() == "wait"
    made.ends_well()
    assert made.step() == "settled"
    assert (made.known.status, made.known.version, made.known.name) == (names.ENDPOINT_IN_SERVICE, 1, NAME)


def test_another_image_serves_from_a_copy_that_nobody_can_replace(
    made: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(names.INFERENCE_IMAGE, "123456789012.dkr.ecr.us-east-1.amazonaws.com/ours:1")
    made.serve(1)
    model = made.sagemaker.describe_model(ModelName=made.described["EndpointConfigName"])
    sha256 = a_package(1).containers[0].sha256
    assert model["Containers"][0]["ModelDataUrl"] == f"s3://evidence/{names.COPIES}/{sha256}/model.tar.gz"


def test_an_endpoint_checks_the_approved_bytes_and_runs_as_the_environments_role(made: Installation) -> None:
    made.serve(1)
    model = made.sagemaker.describe_model(ModelName=made.described["EndpointConfigName"])
    approved = made.fake.view().version(1).package.containers[0]
    assert model["Containers"][0]["Environment"]["PROMOTION_MANIFEST_SHA256"] == approved.manifest_sha256
    assert model["Containers"][0]["ModelDataUrl"] == approved.model_data_url
    assert model["ExecutionRoleArn"] == ROLE


def test_the_next_version_updates_it_under_alarms_and_the_old_model_goes(made: Installation) -> None:
    made.serve(1)
    first = made.configs()
    made.promote(2)
    assert made.step() == "update"
    last = made.described["LastDeploymentConfig"]
    assert {each["AlarmName"] for each in last["AutoRollbackConfiguration"]["Alarms"]} == made.alarms()
    made.ends_well()
    assert made.step() == "settled"
    assert made.known.version == 2
    assert made.configs() == made.models() == [made.described["EndpointConfigName"]]
    assert made.configs() != first


def test_a_second_delivery_does_nothing_a_second_time(made: Installation) -> None:
    made.serve(1)
    events, configs = len(made.fake.events()), made.configs()
    assert [made.step(), made.step()] == ["settled", "settled"]
    assert (len(made.fake.events()), made.configs()) == (events, configs)


def test_a_version_that_never_gets_healthy_is_told_once_and_not_tried_again(made: Installation) -> None:
    made.serve(1)
    made.promote(2)
    made.step()
    made.ends_badly("the container ended, exit status 4", back=True)
    assert [made.step(), made.step()] == ["failed", "failed"]
    assert made.hand.deploying == []
    assert (made.known.status, made.known.version) == (names.ENDPOINT_FAILED, 1)
    assert made.known.problem == "the container ended, exit status 4"
    told = [event for event in made.fake.events() if event.data.get("status") == names.ENDPOINT_FAILED]
    assert len(told) == 1


def test_a_first_version_that_fails_leaves_an_endpoint_to_look_at_until_a_better_one_comes(made: Installation) -> None:
    made.promote(1)
    made.step()
    made.ends_badly("never healthy", back=False)
    assert [made.step(), made.step()] == ["failed", "failed"]
    made.promote(2)
    assert made.step() == "delete"
    made.is_gone()
    assert made.step() == "create"
    made.ends_well()
    made.step()
    assert (made.known.status, made.known.version) == (names.ENDPOINT_IN_SERVICE, 2)


def test_an_operator_has_it_tried_again(made: Installation) -> None:
    made.serve(1)
    made.promote(2)
    made.step()
    made.ends_badly("no capacity", back=True)
    made.step()
    hosting.restore_endpoint(GROUP, "dev", OPERATOR, "There is capacity now.", context=made.fake.context)
    assert made.step() == "update"
    made.ends_well()
    made.step()
    assert (made.known.status, made.known.version) == (names.ENDPOINT_IN_SERVICE, 2)


def test_a_rollback_takes_the_endpoint_back(made: Installation) -> None:
    made.serve(1)
    made.promote(2)
    made.step()
    made.ends_well()
    made.step()
    made.fake.roll_back("dev")
    made.fake.project()
    assert made.step() == "update"
    made.ends_well()
    made.step()
    assert made.known.version == 1


def test_a_revocation_falls_back_with_no_way_back(made: Installation) -> None:
    made.serve(1)
    made.promote(2)
    made.step()
    made.ends_well()
    made.step()
    made.fake.revoke(2)
    made.fake.project()
    detail = {"model_package_group": GROUP, "falls_back": {"dev": 1, "test": None}}
    assert made.wake(**{"detail-type": names.MODEL_REVOKED, "detail": detail}) == {f"{GROUP}/dev": "update"}
    assert "AutoRollbackConfiguration" not in made.described["LastDeploymentConfig"]
    made.ends_badly("the old one is broken too", back=True)
    # The revoked version must not be what is left.
    assert made.step() == "delete"


def test_a_revocation_with_nothing_to_fall_back_to_ends_it_all(made: Installation) -> None:
    made.serve(1)
    made.fake.revoke(1)
    made.fake.project()
    assert made.step() == "delete"
    made.is_gone()
    assert made.step() == "settled"
    assert (made.known.status, made.known.version) == (names.ENDPOINT_WITHDRAWN, None)
    assert (made.exists, made.configs(), made.models(), made.alarms()) == (False, [], [], set())
    assert made.wake() == {f"{GROUP}/dev": "settled"}


def test_a_removed_endpoint_stays_away_after_a_promotion(made: Installation) -> None:
    made.serve(1)
    hosting.remove_endpoint(GROUP, "dev", OPERATOR, "Nobody calls it.", context=made.fake.context)
    detail = {"model_package_group": GROUP, "environment": "dev", "status": names.ENDPOINT_REMOVED}
    assert made.wake(**{"detail-type": names.ENDPOINT_CHANGED, "detail": detail}) == {f"{GROUP}/dev": "delete"}
    made.is_gone()
    made.step()
    made.promote(2)
    assert made.step() == "settled"
    assert not made.exists


def test_a_change_under_way_is_waited_for(made: Installation) -> None:
    made.serve(1)
    made.promote(2)
    made.step()
    made.promote(3)
    assert made.step() == "wait"
    made.ends_well()
    assert made.step() == "update"
    made.ends_well()
    made.step()
    assert made.known.version == 3


def test_a_revocation_in_the_middle_of_an_update_comes_when_sagemaker_lets_it(made: Installation) -> None:
    made.promote(1)
    made.step()
    made.fake.revoke(1)
    made.fake.project()
    assert made.step() == "delete"
    assert made.described["EndpointStatus"] == "Creating"
    made.ends_well()
    made.step()
    made.is_gone()
    assert not made.exists


def test_sagemakers_own_event_is_followed_by_the_endpoints_name(made: Installation) -> None:
    made.promote(1)
    made.step()
    made.ends_well()
    event = {"detail-type": "SageMaker Endpoint State Change", "detail": {"EndpointName": NAME}}
    other = {"detail-type": "SageMaker Endpoint State Change", "detail": {"EndpointName": "promotion-dev-other"}}
    assert made.wake(**other) == {}
    assert made.wake(**event) == {f"{GROUP}/dev": "settled"}


def test_a_record_that_is_behind_the_ledger_is_not_served(made: Installation) -> None:
    made.serve(1)
    made.fake.promote(2, to="dev")
    with pytest.raises(on_live_changed.Behind):
        made.step()
    assert made.hand.deploying == []


def test_a_record_with_another_signature_is_not_served_and_people_are_told(made: Installation) -> None:
    made.promote(1)
    name = names.live_parameter(PREFIX, GROUP, "dev")
    value = made.fake.ssm.get_parameter(Name=name)["Parameter"]["Value"]
    made.fake.ssm.put_parameter(Name=name, Value=value.replace("s3://", "s4://"), Type="String", Overwrite=True)
    assert made.step() == "failed"
    assert not made.exists
    assert "signature" in made.known.problem


def test_somebody_elses_endpoint_of_that_name_is_left_alone(made: Installation) -> None:
    container = {"Image": "theirs", "ModelDataUrl": "s3://theirs/model.tar.gz"}
    made.sagemaker.create_model(ModelName="theirs", ExecutionRoleArn=ROLE, PrimaryContainer=container)
    variant = {"VariantName": "x", "ModelName": "theirs", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    made.sagemaker.create_endpoint_config(EndpointConfigName="theirs", ProductionVariants=[variant])
    made.sagemaker.create_endpoint(EndpointName=NAME, EndpointConfigName="theirs")
    made.ends_well()
    made.promote(1)
    assert made.step() == "foreign"
    assert made.described["EndpointConfigName"] == "theirs"
    assert "didn't make" in made.known.problem


def test_a_refusal_of_sagemaker_is_mailed_once_and_tried_again(
    made: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.promote(1)
    create = made.sagemaker.create_endpoint

    def refuse(**_: Any) -> Any:
        raise ClientError({"Error": {"Code": "ResourceLimitExceeded", "Message": "0 ml.g5.xlarge"}}, "CreateEndpoint")

    monkeypatch.setattr(made.sagemaker, "create_endpoint", refuse)
    assert [made.step(), made.step()] == ["refused", "refused"]
    assert made.known.problem == "CreateEndpoint was refused: 0 ml.g5.xlarge"
    told = [event for event in made.fake.events() if event.kind == names.ENDPOINT_CHANGED]
    assert len(told) == 1
    monkeypatch.setattr(made.sagemaker, "create_endpoint", create)
    assert made.step() == "create"


def test_two_at_once_do_not_take_each_other_for_trouble(made: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both saw the old version in service; the second finds the update of the first under way."""
    made.serve(1)
    made.promote(2)
    find = Endpoints.find
    before = find(made.endpoints, NAME)
    assert made.step() == "update"
    monkeypatch.setattr(Endpoints, "find", lambda self, endpoint: before)
    assert made.step() == "wait"
    assert made.known.status == names.ENDPOINT_IN_SERVICE


def test_the_clean_up_leaves_resources_of_a_later_event(made: Installation) -> None:
    made.serve(1)
    made.promote(2)
    made.step()
    endpoint, _ = made.hand.deploying[-1]
    newer = [name for name in made.configs() if name != made.described["EndpointConfigName"]]
    made.endpoints.tidy(GROUP, made.described["EndpointConfigName"])
    assert set(newer) < set(made.configs())
    assert endpoint.status == "Updating"


def test_one_models_trouble_does_not_hold_up_anothers_endpoint(
    made: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Live in the ledger, and not yet in Parameter Store.
    made.fake.promote(1, to="dev", group="behind")
    made.promote(1)
    follow = on_live_changed.follow
    followed: list[str] = []

    def noted(group: str, environment: str) -> str:
        followed.append(group)
        return follow(group, environment)

    monkeypatch.setattr(on_live_changed, "follow", noted)
    with pytest.raises(on_live_changed.Behind, match="behind has nothing approved for dev"):
        made.wake()
    assert followed == ["behind", GROUP]
    assert made.exists


def test_a_group_that_is_no_longer_served_loses_its_endpoint(made: Installation) -> None:
    made.serve(1)
    made.fake.config = without_groups()
    assert made.step() == "delete"
    made.is_gone()
    made.step()
    assert made.known.status == names.ENDPOINT_WITHDRAWN
    assert made.wake() == {}


def without_groups() -> Config:
    return parse(TEXT.replace(SECTION, SECTION + "groups = []\n"))


def test_another_machine_is_an_update(made: Installation) -> None:
    made.serve(1)
    made.fake.config = parse(TEXT.replace(SECTION, SECTION + "instance_count = 2\n"))
    assert made.step() == "update"
    made.ends_well()
    made.step()
    assert (
        made.sagemaker.describe_endpoint_config(EndpointConfigName=made.configs()[0])["ProductionVariants"][0][
            "InitialInstanceCount"
        ]
        == 2
    )


def test_tags_say_what_serves_and_by_whose_approval(made: Installation) -> None:
    made.serve(1)
    arn = made.sagemaker.describe_endpoint_config(EndpointConfigName=made.configs()[0])["EndpointConfigArn"]
    tags = {tag["Key"]: tag["Value"] for tag in made.sagemaker.list_tags(ResourceArn=arn)["Tags"]}
    state = made.fake.view().environment("dev")
    assert tags[endpoint_plan.TAG_VERSION] == "1"
    assert tags[endpoint_plan.TAG_SEQUENCE] == str(state.live_sequence)
    assert tags[endpoint_plan.TAG_APPROVAL] == state.approval_id


def test_an_endpoint_whose_configuration_is_gone_serves_an_unknown_version(made: Installation) -> None:
    made.serve(1)
    found = made.endpoints.find(NAME)
    assert found is not None
    assert found.version == 1
    made.sagemaker.delete_endpoint_config(EndpointConfigName=found.config_name)
    found = made.endpoints.find(NAME)
    assert found is not None
    assert found.version is None


def test_a_model_that_somebody_deleted_already_is_tidied_away(made: Installation) -> None:
    made.serve(1)
    made.sagemaker.delete_model(ModelName=made.models()[0])
    made.promote(2)
    made.step()
    made.ends_well()
    assert made.step() == "settled"
    assert made.configs() == made.models() == [made.described["EndpointConfigName"]]


def test_what_the_ledger_refuses_to_record_is_recorded_at_the_next_step(made: Installation) -> None:
    made.promote(1)
    made.refusal = "the ledger says no."
    assert made.step() == "create"
    made.ends_well()
    assert made.step() == "settled"
    assert made.known.status == ""
    made.refusal = ""
    made.step()
    assert (made.known.status, made.known.version) == (names.ENDPOINT_IN_SERVICE, 1)
