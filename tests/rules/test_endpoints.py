"""Wanted state, observed state, and the one step between them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from promotion import names
from promotion.client.live_record import LiveContainer, LiveModel
from promotion.config.loading import parse
from promotion.config.settings import Endpoint, Inference
from promotion.domain import endpoint_plan
from promotion.domain.endpoint_plan import Observed, Wanted, next_step
from promotion.domain.model import EndpointState
from promotion.errors import Invalid, Refused
from promotion.rendering import mail, pages
from promotion.rendering.documents.overviews import model_document
from promotion.rendering.sentences import sentence
from promotion.workflows import endpoints as hosting
from tests.fakes import ANN, CONFIG_TEXT, GROUP, OPERATOR, FakeService
from tests.rules.scenario import LINKS

ROLE = "arn:aws:iam::123456789012:role/execution"
SAGEMAKER_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
TEXT = CONFIG_TEXT + '\n[advanced.environments.dev.endpoint]\ninstance_type = "ml.g5.xlarge"\n'


def live(version: int = 2, sequence: int = 7, **changes: Any) -> LiveModel:
    container = LiveContainer(
        image="image", image_digest="", model_data_url="s3://models/m.tar.gz", model_data_version_id="v", sha256="a" * 64,
        manifest_sha256="b" * 64, environment={"HF_TASK": "summarization"},
    )  # fmt: skip
    given: dict[str, Any] = {
        "model_package_group": GROUP, "model_package_version": version, "model_package_arn": "arn", "environment": "dev",
        "containers": (container,), "content_types": (), "approved_by": (), "approved_at": "",
        "approval_id": f"{GROUP}:{version}:dev:1", "sequence": sequence, "key_id": "k", "record": {},
    }  # fmt: skip
    return LiveModel(**{**given, **changes})


def wanted(version: int = 2, sequence: int = 7, settings: Endpoint | None = None, **given: Any) -> Wanted:
    return endpoint_plan.wanted(
        live(version, sequence), settings or Endpoint(), Inference(), prefix="/promotion", role=ROLE, **given
    )


def found(status: str = "InService", config: str = "another", **given: Any) -> Observed:
    return Observed(status=status, config_name=config, **given)


def test_the_container_is_held_to_the_approved_bytes() -> None:
    container = wanted().model["Containers"][0]
    assert container["Environment"] == {
        "HF_TASK": "summarization",
        "PROMOTION_MANIFEST_SHA256": "b" * 64,
        "PROMOTION_APPROVAL_ID": f"{GROUP}:2:dev:1",
    }


def test_the_machine_is_the_configured_one() -> None:
    settings = Endpoint(
        instance_type="ml.g5.12xlarge", instance_count=3, volume_size_gb=256, download_timeout_seconds=3600,
        health_timeout_seconds=3600,
    )  # fmt: skip
    [variant] = wanted(settings=settings).config["ProductionVariants"]
    assert (variant["InstanceType"], variant["InitialInstanceCount"], variant["VolumeSizeInGB"]) == (
        "ml.g5.12xlarge",
        3,
        256,
    )
    timeouts = ("ModelDataDownloadTimeoutInSeconds", "ContainerStartupHealthCheckTimeoutInSeconds")
    assert [variant[name] for name in timeouts] == [3600, 3600]


def test_the_same_wish_has_the_same_name_and_any_other_another() -> None:
    same = {wanted().name, wanted().name}
    others = {
        wanted(version=3).name, wanted(sequence=8).name, wanted(asked=9).name,
        wanted(settings=Endpoint(instance_count=2)).name,
    }  # fmt: skip
    assert len(same) == 1
    assert len(same | others) == 5


@given(
    st.from_regex(names.GROUP_PATTERN, fullmatch=True),
    st.from_regex(names.ENVIRONMENT_PATTERN, fullmatch=True).filter(
        lambda name: not name.endswith("-") and "--" not in name
    ),
)
@example("A" * 63, "d" * 32)
@example("a", "d")
def test_every_group_gets_a_name_that_sagemaker_takes(group: str, environment: str) -> None:
    called = names.endpoint_name("{service}-{environment}-{group}", "/promotion", environment, group)
    hosted = names.hosted_name("/promotion", environment, group, 9_999_999, "0" * 64)
    assert SAGEMAKER_NAME.fullmatch(called)
    assert SAGEMAKER_NAME.fullmatch(hosted)
    assert hosted.startswith(names.hosted_prefix("/promotion", environment))


def test_long_names_that_begin_alike_stay_apart() -> None:
    one, other = (f"{'summariser-' * 5}{last}" for last in ("a", "b"))
    called = {
        names.endpoint_name("{service}-{environment}-{group}", "/promotion", "dev", group) for group in (one, other)
    }
    assert len(called) == len({names.hosted_stem("/promotion", "dev", group) for group in (one, other)}) == 2


@pytest.mark.parametrize(
    ("given_wanted", "given_found", "revoked", "step"),
    [
        (True, None, False, "create"),
        (False, None, False, "settled"),
        (True, found(), False, "update"),
        (True, found(config=wanted().name), False, "settled"),
        (True, found("Creating", wanted().name), False, "wait"),
        (True, found("Updating"), False, "wait"),
        (True, found("RollingBack"), True, "wait"),
        (True, found("Deleting"), False, "wait"),
        (True, found("Failed", wanted().name), False, "failed"),
        (True, found("Failed"), False, "delete"),
        (True, found("UpdateRollbackFailed", attempted=wanted().name), False, "failed"),
        (True, found("UpdateRollbackFailed", attempted=wanted().name), True, "delete"),
        # SageMaker went back: once tried, it isn't tried again by itself.
        (True, found(attempted=wanted().name), False, "failed"),
        # And never back to what was revoked.
        (True, found(attempted=wanted().name), True, "delete"),
        (False, found(), False, "delete"),
        (False, found("Deleting"), False, "wait"),
        # Somebody else's endpoint of the same name stays as it is, whatever should serve.
        (True, found(ours=False), False, "foreign"),
        (False, found(ours=False), False, "foreign"),
    ],
)
def test_there_is_one_step_from_here_to_there(
    given_wanted: bool, given_found: Observed | None, revoked: bool, step: str
) -> None:
    assert next_step(wanted() if given_wanted else None, given_found, revoked=revoked) == step


@given(
    st.sampled_from(["InService", "Failed", "Updating", "OutOfService", "UpdateRollbackFailed", "Creating"]),
    st.booleans(),
)
def test_an_unwanted_endpoint_never_stays(status: str, revoked: bool) -> None:
    assert next_step(None, found(status), revoked=revoked) == "delete"


def test_alarms_roll_a_deployment_back() -> None:
    settings = Endpoint(largest_latency_ms=800, bake_seconds=600)
    made = endpoint_plan.alarms("promotion-dev-g", "config-7", settings)
    asked = endpoint_plan.deployment(settings, [alarm["AlarmName"] for alarm in made])
    assert [alarm["MetricName"] for alarm in made] == ["Invocation5XXErrors", "ModelLatency"]
    assert made[1]["Threshold"] == 800_000
    for alarm in made:
        # The new fleet's alone: what the old one fails at must not stop its replacement.
        assert {"Name": "EndpointConfigName", "Value": "config-7"} in alarm["Dimensions"]
    assert asked["AutoRollbackConfiguration"]["Alarms"] == [{"AlarmName": alarm["AlarmName"]} for alarm in made]
    assert asked["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"] == {
        "Type": "ALL_AT_ONCE",
        "WaitIntervalInSeconds": 600,
    }


def test_there_is_no_way_back_to_what_was_revoked() -> None:
    asked = endpoint_plan.deployment(Endpoint(), ["errors"], revoked=True)
    assert "AutoRollbackConfiguration" not in asked
    assert asked["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]["WaitIntervalInSeconds"] == 0


def test_the_longest_timeouts_are_within_what_sagemaker_takes() -> None:
    settings = Endpoint(download_timeout_seconds=3600, health_timeout_seconds=3600, bake_seconds=3600)
    longest = endpoint_plan.deployment(settings, [])["BlueGreenUpdatePolicy"]["MaximumExecutionTimeoutInSeconds"]
    assert 3 * 3600 < longest <= 28_800


def test_a_failure_is_told_once_with_what_still_serves() -> None:
    there = found(attempted=wanted().name, problem="never healthy", version=1)
    seen = endpoint_plan.seen("failed", wanted(), there, EndpointState())
    assert seen is not None
    assert (seen.status, seen.version, seen.problem) == (names.ENDPOINT_FAILED, 1, "never healthy")
    assert endpoint_plan.seen("failed", wanted(), there, seen) is None


def test_nothing_is_recorded_of_what_is_still_changing() -> None:
    assert endpoint_plan.seen("wait", wanted(), found("Updating"), EndpointState()) is None


@pytest.mark.parametrize("setting", ["health_timeout_seconds", "download_timeout_seconds"])
@pytest.mark.parametrize("value", [59, 3601])
def test_timeouts_are_what_sagemaker_takes(setting: str, value: int) -> None:
    with pytest.raises(Invalid, match=setting):
        parse(TEXT.replace('instance_type = "ml.g5.xlarge"', f"{setting} = {value}"))


@pytest.mark.parametrize(
    "name",
    ["{group}", "ours", "{group}-{group}", "Ours-{group}", "a-{team}-{group}", "x" * 60 + "{group}", "a-{group}-"],
)
def test_a_name_that_would_not_do_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match=r"advanced\.environments\.dev\.endpoint\.name"):
        parse(TEXT.replace('instance_type = "ml.g5.xlarge"', f'name = "{name}"'))


def test_two_environments_do_not_share_names() -> None:
    both = TEXT.replace('instance_type = "ml.g5.xlarge"', 'name = "ours-{group}"')
    both = f'{both}[advanced.environments.prod.endpoint]\nname = "ours-{{group}}"\n'
    with pytest.raises(Invalid, match=r"advanced\.environments\.prod\.endpoint\.name"):
        parse(both)


def test_serving_settings_are_no_part_of_the_policy() -> None:
    assert parse(TEXT).policy_digest() == parse(CONFIG_TEXT).policy_digest()


@pytest.fixture
def fake() -> FakeService:
    """Version 1 is live in dev, and serves there."""
    fake = FakeService(config=parse(TEXT))
    fake.promote(1, to="dev")
    record(fake, status=names.ENDPOINT_IN_SERVICE, version=1)
    return fake


def record(fake: FakeService, version: int | None = None, **given: Any) -> None:
    seen = EndpointState(name="promotion-dev-summariser", config="c", version=version, **given)
    hosting.record_endpoint(GROUP, "dev", 1, seen, context=fake.context)


def state(fake: FakeService) -> EndpointState:
    return fake.view().environment("dev").endpoint


def test_an_observation_is_recorded_once(fake: FakeService) -> None:
    before = len(fake.events())
    record(fake, status=names.ENDPOINT_IN_SERVICE, version=1)
    assert len(fake.events()) == before
    assert (state(fake).status, state(fake).version) == (names.ENDPOINT_IN_SERVICE, 1)


def test_a_long_problem_that_lasts_is_recorded_once(fake: FakeService) -> None:
    """The sweep sees it every few minutes; SageMaker's reason and our words before it may be longer than what is kept."""
    before = len(fake.events())
    for _ in range(3):
        record(fake, status=names.ENDPOINT_FAILED, problem=f"UpdateEndpoint was refused: {'x' * 1024}")
    assert len(fake.events()) == before + 1


def test_an_operator_removes_an_endpoint_and_asks_for_it_again(fake: FakeService) -> None:
    hosting.remove_endpoint(GROUP, "dev", OPERATOR, "It costs too much.", context=fake.context)
    assert state(fake).removed
    with pytest.raises(Refused, match="already"):
        hosting.remove_endpoint(GROUP, "dev", OPERATOR, "Again.", context=fake.context)
    receipt = hosting.restore_endpoint(GROUP, "dev", OPERATOR, "It is needed.", context=fake.context)
    assert (state(fake).removed, state(fake).asked) == (False, receipt.sequence)


def test_a_serving_endpoint_needs_no_second_step(fake: FakeService) -> None:
    with pytest.raises(Refused) as refused:
        hosting.restore_endpoint(GROUP, "dev", OPERATOR, "Why not.", context=fake.context)
    assert refused.value.code == "in_service"


def test_an_environment_without_endpoints_has_none_to_remove(fake: FakeService) -> None:
    with pytest.raises(Refused) as refused:
        hosting.remove_endpoint(GROUP, "test", OPERATOR, "It costs too much.", context=fake.context)
    assert refused.value.code == "no_endpoint"


def test_a_failure_is_mailed_to_who_answers_for_the_environment_with_the_reason(fake: FakeService) -> None:
    record(fake, status=names.ENDPOINT_FAILED, version=None, problem="The container ended, exit status 4.")
    [letter] = mail.letters(fake.events()[-1], view=fake.view(), config=fake.config, links=LINKS)
    assert set(letter.to) == {"ann@example.com", "ben@example.com"}
    assert letter.subject == f"[dev] {GROUP} v1: endpoint failed"
    assert "Nothing answers there now." in letter.intro[0]
    assert "exit status 4" in letter.quote


def test_a_removal_and_a_restore_are_mailed_with_who_did_it(fake: FakeService) -> None:
    hosting.remove_endpoint(GROUP, "dev", OPERATOR, "It costs too much.", context=fake.context)
    hosting.restore_endpoint(GROUP, "dev", OPERATOR, "It is needed.", context=fake.context)
    removed, restored = (
        mail.letters(event, view=fake.view(), config=fake.config, links=LINKS)[0] for event in fake.events()[-2:]
    )
    assert removed.headline == f"The endpoint of {GROUP} in dev was removed"
    assert "removed it on" in removed.intro[0]
    assert removed.intro[0].endswith("Version 1 stays live for pipelines.")
    assert restored.headline == f"The endpoint of {GROUP} in dev was requested again"
    assert restored.intro[0].endswith("It will serve version 1.")
    assert (removed.tone, removed.quote, restored.quote) == ("calm", "It costs too much.", "It is needed.")


def test_coming_into_service_is_no_mail(fake: FakeService) -> None:
    assert mail.letters(fake.events()[-1], view=fake.view(), config=fake.config, links=LINKS) == []


def test_history_says_how_it_fared(fake: FakeService) -> None:
    record(fake, status=names.ENDPOINT_FAILED, version=1, problem="no quota.")
    record(fake, status=names.ENDPOINT_WITHDRAWN)
    said = [sentence(event) for event in fake.events() if event.kind == names.ENDPOINT_CHANGED]
    assert said == [
        "the endpoint in dev serves v1",
        "the endpoint in dev does not serve v1: no quota.; it serves v1",
        "the endpoint in dev was withdrawn",
    ]


def test_the_page_says_what_serves_and_what_does_not(fake: FakeService) -> None:
    record(fake, status=names.ENDPOINT_FAILED, version=1, problem="<b>no</b> quota.")
    document = model_document(
        GROUP, fake.ledger.versions(GROUP), fake.view().environments, fake.events(), ANN, fake.config,
        csrf="", links=LINKS, now=fake.now,
    )  # fmt: skip
    page = pages.render("model", document, person=ANN)
    assert "The endpoint promotion-dev-summariser failed and serves v1: &lt;b&gt;no&lt;/b&gt; quota." in page


def test_where_nothing_was_ever_live_no_endpoint_is_asked_for() -> None:
    fake = FakeService(parse(TEXT))
    fake.register(1)
    with pytest.raises(Refused, match="nothing live") as refused:
        hosting.restore_endpoint(GROUP, "dev", OPERATOR, "It is needed.", context=fake.context)
    assert refused.value.code == "nothing_live"
