"""A container of one's own in the local service: its command is run by the contract, with the model in place."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from local.children import Children
from local.containers import images
from local.jobs import transform
from local.jobs.container import Storage
from local.moto_patches.jobs import Job

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/team/own:7"
# As a team would write it, with nothing of ours: it multiplies each line by the number in the model.
SERVER = """
import http.server, os, pathlib

FACTOR = int(pathlib.Path(os.environ["SM_MODEL_DIR"], "factor.txt").read_text())


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(b"") if self.path == "/ping" else self.send_error(404)

    def do_POST(self):
        lines = self.rfile.read(int(self.headers["Content-Length"])).split()
        self.answer(b"".join(b"%d\\n" % (int(line) * FACTOR) for line in lines))

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
"""


class Folder:
    """Objects in a folder, read and written as a job does."""

    aws_url = "http://127.0.0.1:9"
    credentials = dict.fromkeys(("aws_access_key_id", "aws_secret_access_key", "aws_session_token"), "none")

    def __init__(self, place: Path) -> None:
        self.place = place

    def keys(self, uri: str) -> Iterator[tuple[str, str]]:
        name = uri.rpartition("/")[2]
        yield name, name

    def read(self, bucket: str, key: str) -> bytes:
        return (self.place / key).read_bytes()

    def write(self, uri: str, content: bytes) -> None:
        (self.place / uri.rpartition("/")[2]).write_bytes(content)

    def download(self, uri: str, target: Path) -> None:
        target.write_bytes((self.place / uri.rpartition("/")[2]).read_bytes())


@pytest.fixture
def children() -> Iterator[Children]:
    children = Children()
    yield children
    children.stop_all()


def test_a_batch_is_answered_by_ones_own_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, children: Children
) -> None:
    (tmp_path / "serve.py").write_text(SERVER)
    (tmp_path / "containers.toml").write_text(f'"*/team/own:*" = ["python", "{tmp_path}/serve.py"]\n')
    monkeypatch.setenv(images.LOCAL_CONTAINERS, str(tmp_path / "containers.toml"))
    objects = tmp_path / "objects"
    objects.mkdir()
    (tmp_path / "factor.txt").write_text("3")
    with tarfile.open(objects / "model.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "factor.txt", "factor.txt")
    (objects / "input.csv").write_bytes(b"1\n20\n")
    request: dict[str, Any] = {
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3Uri": "s3://models/input.csv"}}, "ContentType": "text/csv", "SplitType": "Line",
        },
        "TransformOutput": {"S3OutputPath": "s3://models/out/", "AssembleWith": "None"},
    }  # fmt: skip
    (tmp_path / "job").mkdir()
    transform.run(
        request, [{"Image": IMAGE, "ModelDataUrl": "s3://models/model.tar.gz"}], cast(Storage, Folder(objects)),
        tmp_path / "job", children, cast(Job, SimpleNamespace(status="InProgress")),
    )  # fmt: skip
    assert (objects / "input.csv.out").read_bytes() == b"3\n60\n"
