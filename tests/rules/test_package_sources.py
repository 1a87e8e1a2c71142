"""Sources beside the artifact prevent an approval; an image with a digest is used by it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from msgspec.structs import replace

from promotion.client.live_record import LiveContainer
from promotion.domain.package_sources import beside_artifact
from promotion.domain.sagemaker_model import pinned_image
from tests.rules.scenario import Scenario, package, page

OURS = "1.dkr.ecr.eu-west-1.amazonaws.com/inference"
SINGLE_FILE = {"S3DataSource": {"S3Uri": "s3://m/model.bin", "S3DataType": "S3Object", "CompressionType": "None"}}
ARCHIVE = {"S3DataSource": {"S3Uri": "s3://m/m.tar.gz", "S3DataType": "S3Object", "CompressionType": "Gzip"}}


def source(**changes: str) -> dict[str, Any]:
    """An uncompressed model."""
    folder = {"S3Uri": "s3://m/model/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    return {"S3DataSource": folder | changes}


@pytest.mark.parametrize(
    ("container", "place"),
    [
        ({"Environment": {"SAGEMAKER_SUBMIT_DIRECTORY": "s3://m/sourcedir.tar.gz"}}, "SAGEMAKER_SUBMIT_DIRECTORY"),
        ({"Environment": {"EXTRA": '{"adapters": ["S3://m/a"]}'}}, "Environment.EXTRA"),
        ({"AdditionalModelDataSources": [{"ChannelName": "draft"}]}, "AdditionalModelDataSources"),
        ({"AdditionalS3DataSource": {"S3Uri": "s3://m/x"}}, "AdditionalS3DataSource"),
        ({"ModelDataSource": SINGLE_FILE}, "S3DataType S3Object with CompressionType None isn't supported"),
        ({"ModelDataSource": source(CompressionType="Gzip")}, "S3Prefix with CompressionType Gzip isn't supported"),
        ({"ModelDataSource": source(S3Uri="s3://m/model")}, "has to end with a slash"),
        ({"ModelDataSource": source(ManifestS3Uri="s3://hub/manifest.csv")}, "ManifestS3Uri"),
    ],
)
def test_sources_beside_the_artifact_are_named(container: dict[str, Any], place: str) -> None:
    assert place in beside_artifact([{}, container])
    assert "Containers[1]" in beside_artifact([{}, container])


@pytest.mark.parametrize(
    "container",
    [
        {},
        {"Environment": {"SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code", "HF_TASK": "summarization"}},
        {"ModelDataSource": ARCHIVE},
        {"ModelDataSource": source()},
    ],
)
def test_an_artifact_with_its_code_inside_is_complete(container: dict[str, Any]) -> None:
    assert beside_artifact([container]) == ""


@pytest.mark.parametrize(
    ("image", "digest", "expected"),
    [
        ("1.dkr.ecr.eu-west-1.amazonaws.com/a/b:latest", "sha256:1", "1.dkr.ecr.eu-west-1.amazonaws.com/a/b@sha256:1"),
        ("localhost:5000/b", "sha256:1", "localhost:5000/b@sha256:1"),
        ("b:1", "sha256:1", "b@sha256:1"),
        ("b@sha256:2", "sha256:1", "b@sha256:2"),
        ("b:1", "", "b:1"),
    ],
)
def test_an_image_is_used_by_its_approved_digest(image: str, digest: str, expected: str) -> None:
    container = LiveContainer(
        image=image, image_digest=digest, model_data_url="", model_data_version_id="", sha256="", manifest_sha256=""
    )
    assert pinned_image(container) == expected


@pytest.mark.parametrize(
    ("image", "digest", "moves"),
    [
        ("1.dkr.ecr.eu-west-1.amazonaws.com/hf:2.1", "", True),
        ("1.dkr.ecr.eu-west-1.amazonaws.com/hf", "", True),
        ("1.dkr.ecr.eu-west-1.amazonaws.com/hf:2.1", "sha256:1", False),
        ("1.dkr.ecr.eu-west-1.amazonaws.com/hf@sha256:1", "", False),
    ],
)
def test_page_and_mail_say_that_a_tag_can_be_moved(image: str, digest: str, moves: bool) -> None:
    scenario = Scenario()
    [container] = package(1).containers
    scenario.registers(1, containers=(replace(container, image=image, image_digest=digest),))
    [mail] = scenario.mails("Approval Requested")
    for shown in (
        page("request", scenario.request("dev", 1)),
        page("version", scenario.version(1)),
        mail.text,
        mail.html,
    ):
        # In the open: nobody has to unfold anything to be told.
        seen = re.sub(r"<details.*?</details>", "", shown, flags=re.DOTALL)
        assert ("can be moved to another image" in " ".join(seen.split())) is moves


@pytest.mark.parametrize(
    ("own", "said"), [("1.dkr.ecr.eu-west-1.amazonaws.com/ours:2", True), (f"{OURS}:7", False), ("", False)]
)
def test_pages_say_that_a_container_of_another_image_is_code(own: str, said: bool) -> None:
    scenario = Scenario()
    scenario.registers(1, containers=(replace(package(1).containers[0], image=f"{OURS}:2.1"),))
    for shown in (
        page("request", scenario.request("dev", 1, own_image=own)),
        page("version", scenario.version(1, own_image=own)),
    ):
        assert ("image and artifact are code" in shown) is said


def test_pages_say_how_many_files_a_folder_has() -> None:
    scenario = Scenario()
    [container] = package(1).containers
    folder = replace(container, model_data_url="s3://m/model/", model_data_version_id="", files=7)
    scenario.registers(1, containers=(folder,))
    for shown in (page("request", scenario.request("dev", 1)), page("version", scenario.version(1))):
        words = " ".join(shown.split())
        assert " in 7 files" in words
        assert "s3://m/model/</code>, a folder of 7 files" in words
        assert "SHA-256 of the list of object versions" in words
