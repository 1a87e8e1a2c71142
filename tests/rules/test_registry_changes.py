"""Changes in the registry during a request are seen before the decision, and undo none."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from promotion import names
from promotion.config.loading import parse
from promotion.domain.model import Package
from promotion.domain.package_changes import RegistryView
from promotion.domain.people import Actor, Requester
from promotion.errors import Refused
from promotion.ledger.events import Event
from promotion.rendering.mail import letters
from promotion.workflows import decisions, operations, registry_changes
from tests.fakes import ANN, BEGINNING, BEN, CHO, CONFIG_TEXT, GROUP, House, a_package, a_registration
from tests.rules.stage import LINKS

DEE = Requester(actor=Actor(kind="requester", subject="dee@example.com", name="Dee"), declared_by="self")


@pytest.fixture
def house() -> House:
    return House()


def made(version: int, **changes: Any) -> Package:
    """A package made an hour after BEGINNING, by Dee."""
    given: dict[str, Any] = {
        "created_at": BEGINNING + timedelta(hours=1),
        "requester": DEE,
        "metadata": {"licence": "mit"},
        **changes,
    }
    return a_package(version, **given)


def seen(house: House, package: Package, *, unasked: str = "") -> list[str]:
    """The registry tells of a package; returns the kinds of the events that follow."""
    entry = {"ModelApprovalStatus": names.PENDING, "CreationTime": package.created_at}
    known = house.sagemaker.packages.get(package.arn)
    if known is None or known.get("CreationTime") != package.created_at:
        house.sagemaker.packages[package.arn] = entry
    receipt = decisions.register(package, a_registration(), world=house.world, unasked=unasked)
    return [event.kind for event in receipt.events if event.kind != names.POLICY_CHANGED]


def with_image(package: Package, image: str, **more: str) -> Package:
    return replace(package, containers=(replace(package.containers[0], image=image, **more),))


def mails(house: House, *kinds: str) -> list[str]:
    """Subjects of the mails about events of these kinds."""
    return [letter.subject for event in house.events() if event.kind in kinds for letter in _letters(house, event)]


def _letters(house: House, event: Event) -> list:  # type: ignore[type-arg]
    found = letters(event, view=house.view(), config=house.config, links=LINKS, picture=lambda uri: None)
    return [letter for letter in found if letter.to]


def test_the_echo_of_our_own_fields_is_nothing_new(house: House) -> None:
    seen(house, made(1))
    ours = dict.fromkeys(house.config.environment_names, names.PENDING)
    assert seen(house, made(1, metadata={"licence": "mit", **ours})) == []


def test_another_image_takes_the_requests_place_and_says_so(house: House) -> None:
    seen(house, made(1))
    kinds = seen(house, with_image(made(1), "other:2"))
    assert kinds == [names.PACKAGE_CHANGED, names.REQUEST_SUPERSEDED, names.APPROVAL_REQUESTED]
    request = house.view().version(1).requests["dev"]
    assert (request.attempt, request.votes, request.changed) == (2, (), "Changed in the registry: image.")
    assert house.view().version(1).package.containers[0].image == "other:2"
    assert mails(house, names.PACKAGE_CHANGED, names.APPROVAL_REQUESTED) == ["[dev] summariser v1: approve for dev"]
    assert seen(house, with_image(made(1), "other:2")) == []


def test_votes_are_void_for_other_bytes() -> None:
    two = House(parse(CONFIG_TEXT.replace('name = "dev"', 'name = "dev"\nquorum = 2', 1)))
    seen(two, made(1))
    two.decide(1, "dev", ANN)
    seen(two, with_image(made(1), "i:1", sha256="ab" * 32))
    assert two.view().environment("dev").pending_votes == 0


def test_changed_metadata_keeps_request_and_votes_and_is_shown_with_both_values(house: House) -> None:
    seen(house, made(1))
    asked = house.asked(1, "dev")
    assert seen(house, made(1, metadata={"licence": "gpl"})) == [names.PACKAGE_CHANGED]
    assert house.asked(1, "dev") == asked
    assert house.view().version(1).changes == {"metadata licence": ("mit", "gpl")}
    assert house.view().version(1).package.metadata == {"licence": "mit"}
    assert mails(house, names.PACKAGE_CHANGED) == []
    assert seen(house, made(1, metadata={"licence": "gpl"})) == [], "told once"
    house.decide(1, "dev")


def test_the_reviewed_information_has_the_change(house: House) -> None:
    seen(house, made(1))
    before = house.view().version(1)
    seen(house, made(1, metadata={"licence": "gpl"}))
    after = house.view().version(1)
    from promotion.domain.policy import shown_digest

    assert shown_digest(before, before.requests["dev"]) != shown_digest(after, after.requests["dev"])


def test_a_change_that_is_taken_back_is_forgotten(house: House) -> None:
    seen(house, made(1))
    seen(house, made(1, metadata={"licence": "gpl"}))
    assert seen(house, made(1)) == [names.PACKAGE_CHANGED]
    assert house.view().version(1).changes == {}


def test_after_an_approval_another_image_enters_no_further_environment(house: House) -> None:
    seen(house, made(1))
    house.decide(1, "dev")
    house.measure(1, "dev")
    assert seen(house, with_image(made(1), "other:2")) == [names.PACKAGE_CHANGED]
    assert house.view().version(1).package.containers[0].image == made(1).containers[0].image
    with pytest.raises(Refused, match="not the one that was reviewed: image changed"):
        house.decide(1, "test")
    assert mails(house, names.PACKAGE_CHANGED) == [
        "[changed] summariser v1: the package was changed after it was approved"
    ]
    seen(house, made(1))
    house.decide(1, "test")


def test_a_container_that_nobody_reviewed_is_not_written_approved(house: House) -> None:
    seen(house, made(1))
    house.decide(1, "dev")
    entry = house.sagemaker.packages[made(1).arn]
    entry["InferenceSpecification"] = {"Containers": [{"Image": "unreviewed:1", "ModelDataUrl": "s3://b/k.tar.gz"}]}
    assert house.project() == []
    house.registry.repair(house.view().version(1))
    assert entry["ModelApprovalStatus"] == names.PENDING
    assert house.lines() != [], "and verify tells"


def test_a_package_that_is_completed_later_becomes_approvable(house: House) -> None:
    seen(house, made(1, containers=(), problem="the package has no container to serve."))
    with pytest.raises(Refused, match="no container"):
        house.decide(1, "dev")
    assert names.APPROVAL_REQUESTED in seen(house, made(1))
    house.decide(1, "dev")
    assert house.live("dev") == 1


def test_an_artifact_that_is_put_there_later_becomes_approvable(house: House) -> None:
    bare = replace(made(1).containers[0], sha256="", manifest_sha256="", size=0)
    seen(house, made(1, containers=(bare,), problem="there is no object at s3://promotion-models/1."))
    assert names.APPROVAL_REQUESTED in seen(house, made(1))
    assert house.view().version(1).package.containers[0].sha256
    house.decide(1, "dev")


def test_a_change_of_a_rejected_version_makes_no_request(house: House) -> None:
    seen(house, made(1))
    house.decide(1, "dev", verdict=names.REJECTED)
    assert seen(house, with_image(made(1), "other:2")) == [names.PACKAGE_CHANGED]
    assert house.status(1, "dev") == names.REJECTED


def made_anew(house: House, version: int) -> Package:
    house.later(hours=5)
    return made(version, created_at=house.now, containers=(replace(a_package(40).containers[0], image="new:1"),))


def test_a_group_made_anew_closes_what_was_pending_and_is_asked_as_any_other(house: House) -> None:
    for version in (1, 2):
        seen(house, made(version))
    old = house.asked(2, "dev")
    seen(house, made_anew(house, 1))
    events = house.events()
    closed = next(event for event in reversed(events) if event.kind == names.REQUEST_SUPERSEDED)
    assert (closed.version, closed.data["reason"]) == (2, "Its package was deleted.")
    assert house.view().environment("dev").pending == 1
    assert house.asked(1, "dev") != "summariser:1:dev:1" != old, "no id of a request comes twice"
    house.decide(1, "dev")
    assert house.view().version(1).package.containers[0].image == "new:1"
    assert house.project() == []
    assert house.lines() == []


def test_a_live_version_of_a_recreated_group_stays_live_with_its_own_bytes(house: House) -> None:
    seen(house, made(1))
    house.decide(1, "dev")
    assert house.project() == []
    record = house.ssm.values["/promotion/summariser/dev/live"]
    new = made_anew(house, 1)
    seen(house, new)
    assert house.project() == []
    assert house.ssm.values["/promotion/summariser/dev/live"] == record
    house.parameters.put_live(house.view(), "dev", anew=True)
    assert "new:1" not in house.ssm.values["/promotion/summariser/dev/live"]
    assert house.sagemaker.packages[new.arn]["ModelApprovalStatus"] == names.PENDING
    assert house.lines() == []
    house.decide(1, "dev")
    assert house.project() == []
    assert "new:1" in house.ssm.values["/promotion/summariser/dev/live"]
    assert house.lines() == []


def test_a_run_of_the_package_before_is_no_evidence_for_the_one_made_anew(house: House) -> None:
    seen(house, made(1))
    house.decide(1, "dev")
    seen(house, made_anew(house, 1))
    assert house.measure(1, "dev").events == ()


def test_an_approval_of_the_package_before_is_not_written_to_the_one_made_anew(house: House) -> None:
    seen(house, made(1))
    house.decide(1, "dev")
    package = made_anew(house, 1)
    house.sagemaker.packages[package.arn] = {"ModelApprovalStatus": names.PENDING, "CreationTime": package.created_at}
    assert house.project() == []
    house.registry.repair(house.view().version(1))
    assert house.sagemaker.packages[package.arn]["ModelApprovalStatus"] == names.PENDING


def test_an_old_event_of_a_package_that_was_deleted_since_changes_nothing(house: House) -> None:
    seen(house, made(1))
    new = made_anew(house, 1)
    seen(house, new)
    assert decisions.register(made(1), a_registration(), world=house.world).events == ()


def test_a_package_born_rejected_is_recorded_and_nobody_is_asked(house: House) -> None:
    house.sagemaker.packages[made(1).arn] = {"ModelApprovalStatus": names.REJECTED}
    receipt = decisions.register(made(1), a_registration(), world=house.world, unasked=names.REJECTED)
    assert [event.kind for event in receipt.events][-1] == names.MODEL_REGISTERED
    assert house.status(1, "dev") == names.REJECTED
    assert operations.record_bypass(GROUP, 1, names.REJECTED, "eve", world=house.world).events == ()
    assert house.project() == []
    assert house.lines() == []
    assert mails(house, names.MODEL_REGISTERED) == []


def test_a_package_that_sagemaker_could_not_make_is_told_to_its_requester(house: House) -> None:
    seen(house, made(1, problem="SageMaker could not make the package: no such image."), unasked="Failed")
    assert house.view().environment("dev").pending is None
    assert mails(house, names.MODEL_REGISTERED) == ["summariser v1: SageMaker could not make the package"]


def test_a_deleted_package_can_not_be_approved_and_is_told_of_once(house: House) -> None:
    seen(house, made(1))
    for _ in range(2):
        registry_changes.record_removed(GROUP, 1, world=house.world)
    assert house.kinds().count(names.PACKAGE_REMOVED) == 1
    with pytest.raises(Refused, match="no longer in the registry"):
        house.decide(1, "dev")
    assert mails(house, names.PACKAGE_REMOVED) == ["[dev] summariser v1: the package was deleted from the registry"]
    house.decide(1, "dev", verdict=names.REJECTED)


@pytest.mark.parametrize(
    ("package", "why"),
    [
        (None, "no longer in the registry"),
        (made(1, created_at=BEGINNING + timedelta(hours=9)), "no longer in the registry"),
        (with_image(made(1), "other:2"), "image changed"),
    ],
)
def test_the_registrys_state_at_the_decision_counts_before_its_event(
    house: House, package: Package | None, why: str
) -> None:
    seen(house, made(1))
    look = RegistryView(package=package)
    with pytest.raises(Refused, match=why):
        decisions.record_decision(house.asked(1, "dev"), ANN, names.APPROVED, "Good.", world=house.world, seen=look)


def test_a_version_rejected_elsewhere_wants_a_tick(house: House) -> None:
    seen(house, made(1))
    house.sagemaker.packages[made(1).arn]["ModelApprovalStatus"] = names.REJECTED
    operations.record_bypass(GROUP, 1, names.REJECTED, "eve", world=house.world, at=house.now)
    with pytest.raises(Refused, match="Tick") as refused:
        house.decide(1, "dev")
    assert refused.value.code == "unconfirmed"
    asked = house.asked(1, "dev")
    decisions.record_decision(asked, ANN, names.APPROVED, "It was a slip.", world=house.world, confirmed=True)
    assert house.project() == []
    assert house.sagemaker.packages[made(1).arn]["ModelApprovalStatus"] == names.APPROVED


def test_later_edits_of_a_rejected_package_are_no_further_bypass(house: House) -> None:
    seen(house, made(1))
    for _ in range(4):
        house.later(minutes=1)
        operations.record_bypass(GROUP, 1, names.REJECTED, "eve", world=house.world, at=house.now)
    assert house.kinds().count(names.APPROVAL_BYPASSED) == 1


def test_votes_before_a_failed_run_count_again_once_that_is_confirmed(house: House) -> None:
    house.climb(1, to="test")
    house.measure(1, "test", run="t-1")
    house.decide(1, "prod", ANN)
    house.later(minutes=1)
    house.measure(1, "test", 0.3, run="t-2")
    house.measure(1, "test", 0.7, run="t-3")
    with pytest.raises(Refused, match="failed a quality gate after an earlier approval"):
        house.decide(1, "prod", CHO)
    asked = house.asked(1, "prod")
    decisions.record_decision(asked, CHO, names.APPROVED, "Seen.", world=house.world, confirmed=True)
    assert house.live("prod") == 1


def test_a_rejection_needs_no_confirmation(house: House) -> None:
    seen(house, made(1))
    operations.record_bypass(GROUP, 1, names.REJECTED, "eve", world=house.world, at=house.now)
    house.decide(1, "dev", BEN, names.REJECTED)
