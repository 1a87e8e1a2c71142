"""An uncompressed model from registration to a run and an endpoint: SageMaker's rules for folders, on one machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.service import LocalService
from promotion import names
from tests.local.people import IMAGE, Person, mails_to
from tests.local.test_endpoints import ENDPOINT, GROUP, Harbour, configured, tiny

BUCKET = "promotion-models"
FOLDER = f"s3://{BUCKET}/{GROUP}/1/"


@pytest.fixture(scope="module")
def harbour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harbour]:
    folder = tmp_path_factory.mktemp("folders")
    with (
        LocalService(config=configured(folder), home=folder / "home") as service,
        Person(service, "ann") as ann,
    ):
        ann.sign_in()
        yield Harbour(service, ann)


def registered(harbour: Harbour, model: Path) -> str:
    """Registers the files of a folder as an uncompressed model; the link to its request."""
    s3 = harbour.service.session().client("s3")
    for path in model.iterdir():
        s3.put_object(Bucket=BUCKET, Key=f"{GROUP}/1/{path.name}", Body=path.read_bytes())
    s3.put_object(Bucket=BUCKET, Key=f"{GROUP}/dev/input.jsonl", Body=b'{"id": 0, "text_inputs": "the ship is late"}\n')
    s3.put_object(Bucket=BUCKET, Key=f"{GROUP}/dev/references.jsonl", Body=b'{"id": 0, "reference": "the ship"}\n')
    harbour.sagemaker.create_model_package_group(ModelPackageGroupName=GROUP)
    source = {"S3DataSource": {"S3Uri": FOLDER, "S3DataType": "S3Prefix", "CompressionType": "None"}}
    harbour.sagemaker.create_model_package(
        ModelPackageGroupName=GROUP,
        InferenceSpecification={
            "Containers": [{"Image": IMAGE, "ModelDataSource": source, "Environment": {"HF_TASK": "summarization"}}],
            "SupportedContentTypes": ["application/jsonlines"],
            "SupportedResponseMIMETypes": ["application/jsonlines"],
        },
        CustomerMetadataProperties={"requested_by": "dee@example.com"},
    )
    mails = harbour.service.wait_for(lambda: mails_to(harbour.service, "ann@example.com", f"{GROUP} v1"), seconds=600)
    return str(mails[0]["links"][0])


def test_a_folder_is_approved_run_and_served(harbour: Harbour, tmp_path: Path) -> None:
    tiny(tmp_path / "one", 1)
    link = registered(harbour, tmp_path / "one")
    [container] = harbour.ann.json(link)["package"]["containers"]
    assert (container["model_data_url"], container["files"]) == (FOLDER, len(list((tmp_path / "one").iterdir())))
    assert harbour.ann.decide(link).status_code == 303

    # The endpoint's container finds the files where SageMaker placed them, and they are those of the manifest.
    serving = harbour.serves(1)
    assert serving["status"] == "InService"
    assert harbour.invoked()["approval_id"] == f"{GROUP}:1:dev:1"
    config = harbour.sagemaker.describe_endpoint(EndpointName=ENDPOINT)["EndpointConfigName"]
    [hosted] = harbour.sagemaker.describe_model(ModelName=config)["Containers"]
    assert hosted["ModelDataSource"]["S3DataSource"]["S3Uri"] == FOLDER

    # A batch transform takes no folder, and gets the same files as one archive.
    def runs() -> list[dict[str, Any]]:
        pages = harbour.sagemaker.get_paginator("list_transform_jobs").paginate()
        found = [each for page in pages for each in page["TransformJobSummaries"]]
        return [each for each in found if each["TransformJobStatus"] not in ("InProgress", "Stopping")]

    [job] = harbour.service.wait_for(runs, seconds=600)
    assert job["TransformJobStatus"] == "Completed", job
    done = harbour.sagemaker.describe_transform_job(TransformJobName=job["TransformJobName"])
    with pytest.raises(ClientError, match="which use ModelDataSource attribute"):
        harbour.sagemaker.create_transform_job(
            TransformJobName="folder", ModelName=config, TransformInput=done["TransformInput"],
            TransformOutput=done["TransformOutput"], TransformResources=done["TransformResources"],
        )  # fmt: skip

    # Whoever reads the address gets the approved files, or is told otherwise.
    said = harbour.command("resolve", GROUP, "dev", "--artifact")
    assert (said.returncode, FOLDER in said.stdout) == (0, True), said.stderr
    s3 = harbour.service.session().client("s3")
    s3.put_object(Bucket=BUCKET, Key=f"{GROUP}/1/config.json", Body=b"{}")
    changed = harbour.command("resolve", GROUP, "dev", "--artifact")
    assert (changed.returncode, "config.json: changed" in changed.stderr) == (4, True), changed.stderr
    pinned = harbour.command("resolve", GROUP, "dev", "--by-version")
    assert pinned.returncode == 0, pinned.stderr
    assert "file      config.json  " in pinned.stdout
    assert names.COPIES not in pinned.stdout
