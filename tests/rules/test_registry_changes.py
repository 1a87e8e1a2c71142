"""Changes in the registry during a request are seen before the decision, and undo none."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from promotion import names
from promotion.config.loading import parse
from promotion.domain.model import Metric, Package
from promotion.domain.package_changes import RegistryView, metric_changes
from promotion.domain.people import Actor, Requester
from promotion.errors import NotApproved, Refused
from promotion.formatting import number
from promotion.ledger.events import Event
from promotion.rendering.mail import letters
from promotion.workflows import decisions, operations, registry_changes
from tests.fakes import ANN, BEGINNING, BEN, CHO, CONFIG_TEXT, GROUP, FakeService, a_package, a_registration
from tests.rules.scenario import LINKS

DEE = Requester(actor=Actor(kind="requester", subject="dee@example.com", name="Dee"), declared_by="self")


@pytest.fixture
def fake() -> FakeService:
    return FakeService()


def made(version: int, **changes: Any) -> Package:
    """A package made an hour after BEGINNING, by Dee."""
    given: dict[str, Any] = {
        "created_at": BEGINNING + timedelta(hours=1),
        "requester": DEE,
        "metadata": {"licence": "mit"},
        **changes,
    }
    return a_package(version, **given)


def seen(fake: FakeService, package: Package, *, unasked: str = "") -> list[str]:
    """The registry tells of a package; returns the kinds of the events that follow."""
    entry = {"ModelApprovalStatus": names.PENDING, "CreationTime": package.created_at}
    known = fake.sagemaker.packages.get(package.arn)
    if known is None or known.get("CreationTime") != package.created_at:
        fake.sagemaker.packages[package.arn] = entry
    receipt = decisions.register(package, a_registration(), context=fake.context, unasked=unasked)
    return [event.kind for event in receipt.events if event.kind != names.POLICY_CHANGED]


def with_image(package: Package, image: str, **more: str) -> Package:
    return replace(package, containers=(replace(package.containers[0], image=image, **more),))


def mails(fake: FakeService, *kinds: str) -> list[str]:
    """Subjects of the mails about events of these kinds."""
    return [letter.subject for event in fake.events() if event.kind in kinds for letter in _letters(fake, event)]


def _letters(fake: FakeService, event: Event) -> list:  # type: ignore[type-arg]
    found = letters(event, view=fake.view(), config=fake.config, links=LINKS, picture=lambda uri: None)
    return [letter for letter in found if letter.to]


def test_the_echo_of_our_own_fields_is_nothing_new(fake: FakeService) -> None:
    seen(fake, made(1))
    ours = dict.fromkeys(fake.config.environment_names, names.PENDING)
    assert seen(fake, made(1, metadata={"licence": "mit", **ours})) == []


def test_another_image_takes_the_requests_place_and_says_so(fake: FakeService) -> None:
    seen(fake, made(1))
    kinds = seen(fake, with_image(made(1), "other:2"))
    assert kinds == [names.PACKAGE_CHANGED, names.REQUEST_SUPERSEDED, names.APPROVAL_REQUESTED]
    request = fake.view().version(1).requests["dev"]
    assert (request.attempt, request.votes, request.changed) == (2, (), "Changed in the registry: image.")
    assert fake.view().version(1).package.containers[0].image == "other:2"
    assert mails(fake, names.PACKAGE_CHANGED, names.APPROVAL_REQUESTED) == ["[dev] summariser v1: approve for dev"]
    assert seen(fake, with_image(made(1), "other:2")) == []


def test_votes_are_void_for_other_bytes() -> None:
    two = FakeService(parse(CONFIG_TEXT.replace('name = "dev"', 'name = "dev"\nquorum = 2', 1)))
    seen(two, made(1))
    two.decide(1, "dev", ANN)
    seen(two, with_image(made(1), "i:1", sha256="ab" * 32))
    assert two.view().environment("dev").pending_votes == 0


def test_changed_metadata_keeps_request_and_votes_and_is_shown_with_both_values(fake: FakeService) -> None:
    seen(fake, made(1))
    asked = fake.asked(1, "dev")
    assert seen(fake, made(1, metadata={"licence": "gpl"})) == [names.PACKAGE_CHANGED]
    assert fake.asked(1, "dev") == asked
    assert fake.view().version(1).changes == {"metadata licence": ("mit", "gpl")}
    assert fake.view().version(1).package.metadata == {"licence": "mit"}
    assert mails(fake, names.PACKAGE_CHANGED) == []
    assert seen(fake, made(1, metadata={"licence": "gpl"})) == [], "told once"
    fake.decide(1, "dev")


def test_a_registered_metric_that_was_replaced_is_shown_with_both_values() -> None:
    before = {"rougeL": Metric(value=0.7), "bleu": Metric(value=31.0), "chrf": Metric(value=50.0, n=9)}
    after = {"rougeL": Metric(value=0.9), "chrf": Metric(value=50.0), "mrr": Metric(value=None)}
    found = metric_changes(before, after)
    assert found == {"metric rougeL": ("0.7", "0.9"), "metric bleu": ("31", ""), "metric mrr": ("", number(None))}


def test_the_reviewed_information_has_the_change(fake: FakeService) -> None:
    seen(fake, made(1))
    before = fake.view().version(1)
    seen(fake, made(1, metadata={"licence": "gpl"}))
    after = fake.view().version(1)
    from promotion.domain.policy import shown_digest

    assert shown_digest(before, before.requests["dev"]) != shown_digest(after, after.requests["dev"])


def test_a_change_that_is_taken_back_is_forgotten(fake: FakeService) -> None:
    seen(fake, made(1))
    seen(fake, made(1, metadata={"licence": "gpl"}))
    assert seen(fake, made(1)) == [names.PACKAGE_CHANGED]
    assert fake.view().version(1).changes == {}


def test_after_an_approval_another_image_enters_no_further_environment(fake: FakeService) -> None:
    seen(fake, made(1))
    fake.decide(1, "dev")
    fake.measure(1, "dev")
    assert seen(fake, with_image(made(1), "other:2")) == [names.PACKAGE_CHANGED]
    assert fake.view().version(1).package.containers[0].image == made(1).containers[0].image
    with pytest.raises(Refused, match="not the one that was reviewed: image changed"):
        fake.decide(1, "test")
    assert mails(fake, names.PACKAGE_CHANGED) == [
        "[changed] summariser v1: the package was changed after it was approved"
    ]
    seen(fake, made(1))
    fake.decide(1, "test")


def test_a_container_that_nobody_reviewed_is_not_written_approved(fake: FakeService) -> None:
    seen(fake, made(1))
    fake.decide(1, "dev")
    entry = fake.sagemaker.packages[made(1).arn]
    entry["InferenceSpecification"] = {"Containers": [{"Image": "unreviewed:1", "ModelDataUrl": "s3://b/k.tar.gz"}]}
    assert fake.project() == []
    fake.registry.repair(fake.view().version(1))
    assert entry["ModelApprovalStatus"] == names.PENDING
    assert fake.lines() != [], "and verify tells"


def test_a_package_that_is_completed_later_becomes_approvable(fake: FakeService) -> None:
    seen(fake, made(1, containers=(), problem="the package has no container to serve."))
    with pytest.raises(Refused, match="no container"):
        fake.decide(1, "dev")
    assert names.APPROVAL_REQUESTED in seen(fake, made(1))
    fake.decide(1, "dev")
    assert fake.live("dev") == 1


def test_an_artifact_that_is_put_there_later_becomes_approvable(fake: FakeService) -> None:
    bare = replace(made(1).containers[0], sha256="", manifest_sha256="", size=0)
    seen(fake, made(1, containers=(bare,), problem="there is no object at s3://promotion-models/1."))
    assert names.APPROVAL_REQUESTED in seen(fake, made(1))
    assert fake.view().version(1).package.containers[0].sha256
    fake.decide(1, "dev")


def test_a_change_of_a_rejected_version_makes_no_request(fake: FakeService) -> None:
    seen(fake, made(1))
    fake.decide(1, "dev", verdict=names.REJECTED)
    assert seen(fake, with_image(made(1), "other:2")) == [names.PACKAGE_CHANGED]
    assert fake.status(1, "dev") == names.REJECTED


def made_anew(fake: FakeService, version: int) -> Package:
    fake.later(hours=5)
    return made(version, created_at=fake.now, containers=(replace(a_package(40).containers[0], image="new:1"),))


def test_a_group_made_anew_closes_what_was_pending_and_is_asked_as_any_other(fake: FakeService) -> None:
    for version in (1, 2):
        seen(fake, made(version))
    old = fake.asked(2, "dev")
    seen(fake, made_anew(fake, 1))
    events = fake.events()
    closed = next(event for event in reversed(events) if event.kind == names.REQUEST_SUPERSEDED)
    assert (closed.version, closed.data["reason"]) == (2, "Its package was deleted.")
    assert fake.view().environment("dev").pending == 1
    assert fake.asked(1, "dev") != "summariser:1:dev:1" != old, "no id of a request comes twice"
    fake.decide(1, "dev")
    assert fake.view().version(1).package.containers[0].image == "new:1"
    assert fake.project() == []
    assert fake.lines() == []


def test_a_live_version_of_a_recreated_group_stays_live_with_its_own_bytes(fake: FakeService) -> None:
    seen(fake, made(1))
    fake.decide(1, "dev")
    assert fake.project() == []
    record = fake.ssm.values["/promotion/summariser/dev/live"]
    new = made_anew(fake, 1)
    seen(fake, new)
    assert fake.project() == []
    assert fake.ssm.values["/promotion/summariser/dev/live"] == record
    fake.parameters.put_live(fake.view(), "dev", anew=True)
    assert "new:1" not in fake.ssm.values["/promotion/summariser/dev/live"]
    assert fake.sagemaker.packages[new.arn]["ModelApprovalStatus"] == names.PENDING
    assert fake.lines() == []
    fake.decide(1, "dev")
    assert fake.project() == []
    assert "new:1" in fake.ssm.values["/promotion/summariser/dev/live"]
    assert fake.lines() == []


def test_a_run_of_the_package_before_is_no_evidence_for_the_one_made_anew(fake: FakeService) -> None:
    seen(fake, made(1))
    fake.decide(1, "dev")
    seen(fake, made_anew(fake, 1))
    assert fake.measure(1, "dev").events == ()


def test_an_approval_of_the_package_before_is_not_written_to_the_one_made_anew(fake: FakeService) -> None:
    seen(fake, made(1))
    fake.decide(1, "dev")
    package = made_anew(fake, 1)
    fake.sagemaker.packages[package.arn] = {"ModelApprovalStatus": names.PENDING, "CreationTime": package.created_at}
    assert fake.project() == []
    fake.registry.repair(fake.view().version(1))
    assert fake.sagemaker.packages[package.arn]["ModelApprovalStatus"] == names.PENDING


def test_an_old_event_of_a_package_that_was_deleted_since_changes_nothing(fake: FakeService) -> None:
    seen(fake, made(1))
    new = made_anew(fake, 1)
    seen(fake, new)
    assert decisions.register(made(1), a_registration(), context=fake.context).events == ()


def test_a_package_born_rejected_is_recorded_and_nobody_is_asked(fake: FakeService) -> None:
    fake.sagemaker.packages[made(1).arn] = {"ModelApprovalStatus": names.REJECTED}
    receipt = decisions.register(made(1), a_registration(), context=fake.context, unasked=names.REJECTED)
    assert [event.kind for event in receipt.events][-1] == names.MODEL_REGISTERED
    assert fake.status(1, "dev") == names.REJECTED
    assert operations.record_bypass(GROUP, 1, names.REJECTED, "eve", context=fake.context).events == ()
    assert fake.project() == []
    assert fake.lines() == []
    assert mails(fake, names.MODEL_REGISTERED) == []


def test_a_package_that_sagemaker_could_not_make_is_told_to_its_requester(fake: FakeService) -> None:
    seen(fake, made(1, problem="SageMaker could not make the package: no such image."), unasked="Failed")
    assert fake.view().environment("dev").pending is None
    assert mails(fake, names.MODEL_REGISTERED) == ["summariser v1: SageMaker could not make the package"]


def test_a_deleted_package_can_not_be_approved_and_is_told_of_once(fake: FakeService) -> None:
    seen(fake, made(1))
    for _ in range(2):
        registry_changes.record_removed(GROUP, 1, context=fake.context)
    assert fake.kinds().count(names.PACKAGE_REMOVED) == 1
    with pytest.raises(Refused, match="no longer in the registry"):
        fake.decide(1, "dev")
    assert mails(fake, names.PACKAGE_REMOVED) == ["[dev] summariser v1: the package was deleted from the registry"]
    fake.decide(1, "dev", verdict=names.REJECTED)


@pytest.mark.parametrize(
    ("package", "why"),
    [
        (None, "no longer in the registry"),
        (made(1, created_at=BEGINNING + timedelta(hours=9)), "no longer in the registry"),
        (with_image(made(1), "other:2"), "image changed"),
    ],
)
def test_the_registrys_state_at_the_decision_counts_before_its_event(
    fake: FakeService, package: Package | None, why: str
) -> None:
    seen(fake, made(1))
    look = RegistryView(package=package)
    with pytest.raises(Refused, match=why):
        decisions.record_decision(fake.asked(1, "dev"), ANN, names.APPROVED, "Good.", context=fake.context, seen=look)


def test_a_version_rejected_elsewhere_wants_a_tick(fake: FakeService) -> None:
    seen(fake, made(1))
    fake.sagemaker.packages[made(1).arn]["ModelApprovalStatus"] = names.REJECTED
    operations.record_bypass(GROUP, 1, names.REJECTED, "eve", context=fake.context, at=fake.now)
    with pytest.raises(Refused, match="Tick") as refused:
        fake.decide(1, "dev")
    assert refused.value.code == "unconfirmed"
    asked = fake.asked(1, "dev")
    decisions.record_decision(asked, ANN, names.APPROVED, "It was a slip.", context=fake.context, confirmed=True)
    assert fake.project() == []
    assert fake.sagemaker.packages[made(1).arn]["ModelApprovalStatus"] == names.APPROVED


def test_later_edits_of_a_rejected_package_are_no_further_bypass(fake: FakeService) -> None:
    seen(fake, made(1))
    for _ in range(4):
        fake.later(minutes=1)
        operations.record_bypass(GROUP, 1, names.REJECTED, "eve", context=fake.context, at=fake.now)
    assert fake.kinds().count(names.APPROVAL_BYPASSED) == 1


def test_votes_before_a_failed_run_count_again_once_that_is_confirmed(fake: FakeService) -> None:
    fake.promote(1, to="test")
    fake.measure(1, "test", run="t-1")
    fake.decide(1, "prod", ANN)
    fake.later(minutes=1)
    fake.measure(1, "test", 0.3, run="t-2")
    fake.measure(1, "test", 0.7, run="t-3")
    with pytest.raises(Refused, match="failed a quality gate after an earlier approval"):
        fake.decide(1, "prod", CHO)
    asked = fake.asked(1, "prod")
    decisions.record_decision(asked, CHO, names.APPROVED, "Seen.", context=fake.context, confirmed=True)
    assert fake.live("prod") == 1


def test_a_rejection_needs_no_confirmation(fake: FakeService) -> None:
    seen(fake, made(1))
    operations.record_bypass(GROUP, 1, names.REJECTED, "eve", context=fake.context, at=fake.now)
    fake.decide(1, "dev", BEN, names.REJECTED)


def test_a_group_made_anew_with_a_rejected_package_asks_nobody(fake: FakeService) -> None:
    seen(fake, made(1))
    kinds = seen(fake, made(1, created_at=BEGINNING + timedelta(hours=2)), unasked=names.REJECTED)
    assert kinds == [names.REQUEST_SUPERSEDED, names.PACKAGE_CHANGED, names.MODEL_REGISTERED]
    assert fake.view().environment("dev").pending is None


def test_a_group_made_anew_has_nothing_of_before_to_roll_back_to() -> None:
    fake = FakeService(parse(CONFIG_TEXT + '[advanced.environments.dev]\non_revoke = "nothing"\n'))
    for version in (1, 2):
        seen(fake, made(version))
        fake.decide(version, "dev")
    fake.revoke(2)
    assert fake.view().environment("dev").former == (1,)
    seen(fake, made(1, created_at=BEGINNING + timedelta(hours=2)))
    assert fake.view().environment("dev").former == ()
    with pytest.raises(NotApproved):
        fake.roll_back("dev")
