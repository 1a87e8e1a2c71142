"""Batch Transform: unpack the model, start its containers' servers, and post the input's lines to the first one."""

from __future__ import annotations

import gzip
import http.client
import json
import subprocess
import tarfile
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.children import Children
from local.jobs.container import JobFailed, Storage, check_not_stopped, command_for, ended, split, start
from local.jobs.data_processing import Processing
from local.moto_patches.jobs import Job
from local.ports import Held
from promotion.errors import Invalid

_START_SECONDS = 600
_ANSWER_SECONDS = 600
_MEBIBYTE = 1 << 20


def run(
    request: Mapping[str, Any],
    containers: Sequence[Mapping[str, Any]],
    storage: Storage,
    folder: Path,
    children: Children,
    job: Job,
) -> None:
    """Run one transform job to its end; with several containers, each one's answer is the input of the next.

    Raises:
        JobFailed: the job failed; the message is its FailureReason.
        JobStopped: the job was stopped.
    """
    with ExitStack() as stack:
        serving = []
        for number, container in enumerate(containers):
            place = folder if number == 0 else folder / f"container-{number}"
            variables = {**(request.get("Environment") or {}), "SAGEMAKER_BATCH": "true"}
            each = stack.enter_context(_serving(container, variables, storage, place, children))
            each.wait_for_ping(job)
            serving.append(each)
        settings = _settings(request, serving[0].port)
        source = request["TransformInput"]
        uri = source["DataSource"]["S3DataSource"]["S3Uri"]
        bucket, _ = split(uri)
        output = request["TransformOutput"]
        processing = Processing(request.get("DataProcessing") or {}, source.get("ContentType"))

        def answer(body: bytes) -> bytes:
            check_not_stopped(job)
            said, content_type = processing.asked(body), source.get("ContentType")
            for each in serving:
                each.check_alive()
                said, content_type = _post(each.port, said, content_type, output.get("Accept"))
            return processing.answered(body, said)

        for key, name in storage.keys(uri):
            content = _unpacked(storage.read(bucket, key), source.get("CompressionType"), key)
            bodies = payloads(content, source.get("SplitType", "None"), settings)
            answers = list(_in_order(answer, bodies, settings["concurrent"]))
            storage.write(
                f"{output['S3OutputPath'].rstrip('/')}/{name}.out", assembled(answers, output.get("AssembleWith"))
            )


@dataclass(frozen=True)
class _Serving:
    """A container's process, its port, and its log."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def check_alive(self) -> None:
        if self.process.poll() is not None:
            raise ended(self.process, self.log)

    def wait_for_ping(self, job: Job) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            check_not_stopped(job)
            self.check_alive()
            try:
                if ask(self.port, "GET", "/ping", timeout=2)[0] == 200:
                    return
            except OSError:
                pass
            if time.monotonic() > deadline:
                raise JobFailed(f"ClientError: the container did not answer /ping within {_START_SECONDS} s.")
            time.sleep(0.05)


@contextmanager
def _serving(
    container: Mapping[str, Any], variables: Mapping[str, str], storage: Storage, place: Path, children: Children
) -> Iterator[_Serving]:
    """Run a container with its model, on a port that is reserved until it has ended."""
    command = command_for(container)
    place.mkdir(exist_ok=True)
    fetch_model(container, storage, place / "model")
    log = place / "container.log"
    with Held() as held:
        environment = {
            **(container.get("Environment") or {}),
            **variables,
            "SM_MODEL_DIR": str(place / "model"),
            "SAGEMAKER_BIND_TO_PORT": str(held.number),
            "HOST": "127.0.0.1",
        }
        process = start(command, environment, storage, log, children)
        try:
            yield _Serving(process, held.number, log)
        finally:
            children.stop(process, grace_seconds=30)


def fetch_model(container: Mapping[str, Any], storage: Storage, model: Path) -> None:
    """Fetch a container's artifact, and unpack it as SageMaker does."""
    source = (container.get("ModelDataSource") or {}).get("S3DataSource")
    model.mkdir(parents=True)
    if source is not None and source.get("CompressionType") == "None":
        uri = source["S3Uri"]
        if source["S3DataType"] == "S3Object":
            storage.download(uri, model / uri.rpartition("/")[2])
            return
        try:
            files = storage.files(uri)
        except Invalid as broken:
            raise JobFailed(f"ClientError: {broken}") from None
        for path in files:
            storage.download(uri + path, model / path)
        return
    url = container.get("ModelDataUrl") or (source or {}).get("S3Uri")
    if url is None:
        return
    archive = model.parent / "model.tar.gz"
    storage.download(url, archive)
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(model, filter="data")
    except (tarfile.TarError, OSError, EOFError) as broken:
        raise JobFailed(f"ClientError: {url} can't be unpacked: {broken}") from None
    archive.unlink()


def _settings(request: Mapping[str, Any], port: int) -> dict[str, Any]:
    """Return batch strategy, payload limit and concurrency: the job's, else the container's, else SageMaker's."""
    offered: dict[str, Any] = {}
    try:
        status, body = ask(port, "GET", "/execution-parameters", timeout=5)
        offered = json.loads(body) if status == 200 else {}
    except (OSError, ValueError):
        pass
    strategy = request.get("BatchStrategy") or {"MULTI_RECORD": "MultiRecord", "SINGLE_RECORD": "SingleRecord"}.get(
        offered.get("BatchStrategy", ""), "MultiRecord"
    )
    most = request.get("MaxPayloadInMB")
    return {
        "strategy": strategy,
        "most_bytes": int(most if most is not None else offered.get("MaxPayloadInMB", 6)) * _MEBIBYTE,
        "concurrent": int(request.get("MaxConcurrentTransforms") or offered.get("MaxConcurrentTransforms") or 1),
    }


def _unpacked(content: bytes, compression: str | None, key: str) -> bytes:
    """Return an input object's content, by the CompressionType of the job."""
    if compression != "Gzip":
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as broken:
        raise JobFailed(f"ClientError: {key} can't be unpacked: {broken}") from None


def _in_order(answer: Callable[[bytes], bytes], bodies: Iterator[bytes], concurrent: int) -> Iterator[bytes]:
    """Yield the answers in the order of the requests, with at most `concurrent` in progress."""
    waiting: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(concurrent, thread_name_prefix="transform") as pool:
        for body in bodies:
            waiting.append(pool.submit(answer, body))
            if len(waiting) >= concurrent:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def payloads(content: bytes, split_type: str, settings: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield an object's bytes as requests: whole, line by line, or with as many lines as fit."""
    if split_type != "Line":
        yield content
        return
    most: int = settings["most_bytes"]
    payload, size = bytearray(), 0
    # Each line keeps its line break, because an empty line is a record, too, and gets an answer.
    for line in content.removesuffix(b"\n").split(b"\n") if content else ():
        if most and len(line) > most:
            raise JobFailed(f"ClientError: a record of {len(line)} bytes is larger than MaxPayloadInMB.")
        if size and (settings["strategy"] == "SingleRecord" or (most and size + len(line) > most)):
            yield bytes(payload)
            payload, size = bytearray(), 0
        payload += line + b"\n"
        size = len(payload)
    if payload:
        yield bytes(payload)


def _post(port: int, body: bytes, content_type: str | None, accept: str | None) -> tuple[bytes, str | None]:
    """Return a container's answer and its content type."""
    headers = {"Content-Type": content_type or "application/octet-stream"}
    if accept:
        headers["Accept"] = accept
    try:
        status, answer, kind = _asked(port, "POST", "/invocations", body, headers, timeout=_ANSWER_SECONDS)
    except OSError as broken:
        raise JobFailed(f"AlgorithmError: the container closed the connection: {broken}") from None
    if status != 200:
        raise JobFailed(f"ClientError: the container answered {status}: {answer[:300].decode(errors='replace')}")
    return answer, kind or content_type


def assembled(answers: list[bytes], assemble_with: str | None) -> bytes:
    """Join a container's answers to an output object, by AssembleWith."""
    if assemble_with == "Line":
        # After each answer, also after one that ends with a newline, as in SageMaker.
        return b"".join(answer + b"\n" for answer in answers)
    return b"".join(answers)


def ask(
    port: int,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    timeout: float,
) -> tuple[int, bytes]:
    """Return a container's status and answer to one request."""
    return _asked(port, method, path, body, headers, timeout=timeout)[:2]


def _asked(
    port: int, method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None, *, timeout: float
) -> tuple[int, bytes, str | None]:
    """Return a container's status, answer and content type."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.getheader("Content-Type")
    except http.client.HTTPException as broken:
        raise OSError(str(broken)) from None
    finally:
        connection.close()
