"""An image that a package names by a tag runs as the image that the tag named at the registration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from msgspec.structs import replace

from promotion import names
from promotion.aws.sagemaker.images import with_image_digests
from promotion.client.image_address import repository
from promotion.domain.model import Container, Package
from tests.fakes import GROUP, a_package, as_client
from tests.faults.resources import EVIDENCE, IMAGE, MODELS, push
from tests.faults.simulation import Simulation, simulation


@pytest.fixture(params=[1.0, 0.0], ids=["hashed in the function", "hashed by a job"])
def service(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Simulation]:
    with simulation(tmp_path, hash_up_to_gb=request.param) as made:
        yield made


def container(service: Simulation) -> Container:
    from lambdas.shared.dependencies import ledger

    with service.without_faults():
        [found] = ledger().view(GROUP).version(1).package.containers
    return found


def prepared(service: Simulation) -> dict[str, Any]:
    """CreateModel's request of a run in dev."""
    from lambdas.handlers import prepare_inference

    with service.without_faults():
        boto3.client("s3").put_object(Bucket=MODELS, Key=f"{GROUP}/dev/input.jsonl", Body=b"{}\n")
    settings = {"evidence_bucket": EVIDENCE, "execution_role_arn": "arn:aws:iam::123456789012:role/execution"}
    found: dict[str, Any] = prepare_inference.handler(
        {"group": GROUP, "environment": "dev", "settings": settings}, None
    )
    return dict(found["create_model"])


def test_a_tag_that_is_moved_after_the_registration_changes_nothing(service: Simulation) -> None:
    with service.without_faults():
        digest = push("approved")
    service.register()
    [registration] = service.asynchronous
    service.settle()
    assert container(service).image_digest == digest
    with service.without_faults():
        moved = push("moved")
    assert moved != digest
    assert service.decide(1, "dev") == 303
    service.settle()
    [created] = prepared(service)["Containers"]
    assert created["Image"] == f"{repository(IMAGE)}@{digest}"
    # What the registry tells again, such as of a new description, asks nobody about another image.
    service.asynchronous.append(registration)
    service.settle()
    assert container(service).image_digest == digest
    kinds = [kind for kind, *_ in service.story()]
    assert (kinds.count(names.APPROVAL_REQUESTED), kinds.count(names.PACKAGE_CHANGED)) == (1, 0)


def test_an_image_that_ecr_does_not_show_stays_named_by_its_tag(service: Simulation) -> None:
    with service.without_faults():
        boto3.client("ecr").delete_repository(repositoryName="hf", force=True)
    service.register()
    service.settle()
    assert container(service).image_can_move
    assert service.decide(1, "dev") == 303


def test_a_registration_waits_for_ecr_where_it_is_throttled(tmp_path: Path) -> None:
    with simulation(tmp_path) as service:
        failed: list[str] = []

        def fails_once(call: str, given: dict[str, Any]) -> bool:
            fails = call == "ecr:BatchGetImage" and not failed
            failed.extend([call] if fails else [])
            return fails

        service.fails_if = fails_once
        service.register()
        service.settle()
        assert failed
        assert not container(service).image_can_move


OTHERS = [
    "hf:1",
    "123456789012.dkr.ecr.eu-west-1.amazonaws.com/hf:1",
    "999999999999.dkr.ecr.us-east-1.amazonaws.com/hf:1",
    "123456789012.dkr.ecr.us-east-1.amazonaws.com/hf:2",
    "123456789012.dkr.ecr.us-east-1.amazonaws.com/hf",
    "public.ecr.aws/team/hf:1",
    "123456789012.dkr.ecr.us-east-1.amazonaws.com/hf:1\n",
]


@pytest.mark.parametrize("image", OTHERS)
def test_another_address_is_no_reason_to_guess(tmp_path: Path, image: str) -> None:
    with simulation(tmp_path):
        assert resolved(image).image_digest == ""


def test_no_tag_is_the_tag_latest(tmp_path: Path) -> None:
    with simulation(tmp_path):
        digest = push("newest", IMAGE.replace(":1", ":latest"))
        assert resolved(IMAGE.removesuffix(":1")).image_digest == digest


def test_a_packages_own_digest_is_kept(tmp_path: Path) -> None:
    with simulation(tmp_path):
        assert resolved(IMAGE, "sha256:" + "0" * 64).image_digest == "sha256:" + "0" * 64
        assert resolved(f"{repository(IMAGE)}@sha256:{'1' * 64}").image_digest == ""


def resolved(image: str, digest: str = "") -> Container:
    package: Package = a_package(1)
    [given] = package.containers
    named = replace(package, containers=(replace(given, image=image, image_digest=digest),))
    [found] = with_image_digests(as_client(boto3.client("ecr")), named).containers
    return found
