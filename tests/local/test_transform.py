"""A transform job in process: its model's files, its input, and a container that fails."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws

from local import moto_patches
from local.children import Children
from local.containers import images
from local.jobs import transform
from local.jobs.container import JobFailed, Storage
from local.jobs.transform import fetch_model, payloads
from local.moto_patches.jobs import Job
from tests.local.people import execution_role_by

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/team/own:7"
# Answers with the request, but does one thing differently, named by its argument.
SERVER = """
import http.server, os, sys

different, = sys.argv[1:]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path != "/ping" and different == "parameters closed":
            return
        self.answer(200, b"no JSON")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if different == "closed":
            return
        if different == "no HTTP":
            self.wfile.write(b"what?\\r\\n")
            return
        self.answer(*((400, b"no such column") if different == "refused" else (200, body)))

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.HTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
"""
WAITS = ["python", "-c", "import threading; threading.Event().wait()"]


@pytest.fixture
def s3() -> Iterator[Any]:
    moto_patches.apply()
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket="models")
        yield client


@pytest.fixture
def storage(s3: Any) -> Storage:
    role = execution_role_by(boto3.client("iam"), "transform")
    return Storage("https://s3.amazonaws.com", role, "job", [IMAGE], "TransformJobs")


@pytest.fixture
def run(s3: Any, storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Return a function that runs a job on the objects below s3://models/in/ with a container of a given command."""
    children = Children()
    monkeypatch.setenv(images.LOCAL_CONTAINERS, str(tmp_path / "containers.toml"))

    def run_job(command: list[str], **given: Any) -> None:
        (tmp_path / "containers.toml").write_text(f'"*/team/own:*" = {json.dumps(command)}\n')
        (tmp_path / "job").mkdir()
        request = {
            "TransformInput": {"DataSource": {"S3DataSource": {"S3Uri": "s3://models/in/"}}, **given},
            "TransformOutput": {"S3OutputPath": "s3://models/out/"},
        }
        job = Job("transform", SimpleNamespace(transform_job_status="InProgress"))
        transform.run(request, [{"Image": IMAGE}], storage, tmp_path / "job", children, job)

    yield run_job
    children.stop_all()


@pytest.fixture
def server(tmp_path: Path) -> Callable[[str], list[str]]:
    """Return a function that names the command of a server that does one thing differently."""
    (tmp_path / "serve.py").write_text(SERVER)
    return lambda different: ["python", str(tmp_path / "serve.py"), different]


@pytest.mark.parametrize("different", ["parameters no JSON", "parameters closed"])
def test_without_valid_execution_parameters_a_job_has_sagemakers_defaults(
    different: str, run: Callable[..., None], server: Callable[[str], list[str]], s3: Any
) -> None:
    s3.put_object(Bucket="models", Key="in/a.csv", Body=b"1\n2\n")
    run(server(different), SplitType="Line")
    assert s3.get_object(Bucket="models", Key="out/a.csv.out")["Body"].read() == b"1\n2\n"


def test_compressed_input_is_sent_unpacked_and_out_is_added_to_its_name(
    run: Callable[..., None], server: Callable[[str], list[str]], s3: Any
) -> None:
    """https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_TransformOutput.html, S3OutputPath."""
    s3.put_object(Bucket="models", Key="in/a.csv.gz", Body=gzip.compress(b"1,2\n"))
    run(server(""), CompressionType="Gzip")
    assert s3.get_object(Bucket="models", Key="out/a.csv.gz.out")["Body"].read() == b"1,2\n"


@pytest.mark.parametrize(
    "content",
    [b"1,2\n", gzip.compress(b"1,2\n" * 9)[:-9], gzip.compress(b"")[:10] + b"\xff" * 20],
    ids=["not compressed", "cut off", "damaged"],
)
def test_input_that_cant_be_unpacked_fails_the_job_by_name(
    content: bytes, run: Callable[..., None], server: Callable[[str], list[str]], s3: Any
) -> None:
    s3.put_object(Bucket="models", Key="in/a.csv.gz", Body=content)
    with pytest.raises(JobFailed, match=r"^ClientError: in/a\.csv\.gz can't be unpacked: "):
        run(server(""), CompressionType="Gzip")


def test_a_prefix_without_objects_fails_the_job(run: Callable[..., None], server: Callable[[str], list[str]]) -> None:
    with pytest.raises(JobFailed, match=r"^ClientError: there is nothing under s3://models/in/\.$"):
        run(server(""))


@pytest.mark.parametrize(
    ("different", "reason"),
    [
        ("refused", "ClientError: the container answered 400: no such column"),
        ("closed", "AlgorithmError: the container closed the connection: Remote end closed connection"),
        ("no HTTP", r"AlgorithmError: the container closed the connection: what\?"),
    ],
)
def test_a_container_that_answers_no_record_fails_the_job(
    different: str, reason: str, run: Callable[..., None], server: Callable[[str], list[str]], s3: Any
) -> None:
    s3.put_object(Bucket="models", Key="in/a.csv", Body=b"1\n")
    with pytest.raises(JobFailed, match=f"^{reason}"):
        run(server(different))


def test_a_container_that_ends_before_its_first_ping_fails_the_job(run: Callable[..., None]) -> None:
    with pytest.raises(JobFailed, match=r"^AlgorithmError: the container ended, exit status 1: no weights$"):
        run(["python", "-c", "raise SystemExit('no weights')"])


def test_a_container_that_never_answers_a_ping_fails_the_job(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(monotonic=iter([0, 599, 601]).__next__, sleep=lambda seconds: None)
    monkeypatch.setattr(transform, "time", clock)
    with pytest.raises(JobFailed, match=r"^ClientError: the container did not answer /ping within 600 s\.$"):
        run(WAITS)


def model_of(kind: str, uri: str) -> dict[str, Any]:
    source = {"S3Uri": uri, "S3DataType": kind, "CompressionType": "None"}
    return {"ModelDataSource": {"S3DataSource": source}}


def test_an_uncompressed_object_is_placed_by_the_last_part_of_its_key(
    storage: Storage, s3: Any, tmp_path: Path
) -> None:
    s3.put_object(Bucket="models", Key="m/1/model.bin", Body=b"weights")
    fetch_model(model_of("S3Object", "s3://models/m/1/model.bin"), storage, tmp_path / "model")
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()} == {"model.bin": b"weights"}


def test_a_model_folder_that_sagemaker_cant_place_fails_the_job(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(JobFailed, match=r"^ClientError: .*there is no object at s3://models/m/1/"):
        fetch_model(model_of("S3Prefix", "s3://models/m/1/"), storage, tmp_path / "model")


def test_a_container_without_model_data_finds_an_empty_folder(storage: Storage, tmp_path: Path) -> None:
    fetch_model({"Image": IMAGE}, storage, tmp_path / "model")
    assert list((tmp_path / "model").iterdir()) == []


def test_input_that_is_not_split_is_one_request() -> None:
    assert list(payloads(b"1\n2\n", "None", {"strategy": "SingleRecord", "most_bytes": 2})) == [b"1\n2\n"]
