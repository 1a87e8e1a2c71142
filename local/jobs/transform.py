"""Batch Transform: unpacks the model, starts the container's server, and posts the input's lines to it."""

from __future__ import annotations

import gzip
import http.client
import json
import subprocess
import tarfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from inference.batch import data_processing
from local.children import Children
from local.jobs.container import JobFailed, Storage, check_not_stopped, ended, split, start
from local.moto_patches.jobs import Job
from local.ports import Held

_START_SECONDS = 600
_ANSWER_SECONDS = 600
_MEBIBYTE = 1 << 20


def run(
    request: Mapping[str, Any],
    container: Mapping[str, Any],
    storage: Storage,
    folder: Path,
    children: Children,
    job: Job,
) -> None:
    """Runs one transform job to its end.

    Raises:
        JobFailed: with what becomes the job's FailureReason.
        JobStopped: somebody stopped it.
    """
    model = folder / "model"
    fetch_model(container, storage, model)
    log = folder / "container.log"
    environment = {
        **(container.get("Environment") or {}),
        **(request.get("Environment") or {}),
        "SAGEMAKER_BATCH": "true",
        "SM_MODEL_DIR": str(model),
    }
    with _serving(environment, storage, log, children) as (process, port):
        _wait_for_ping(process, port, log, job)
        settings = _settings(request, port)
        source = request["TransformInput"]
        uri = source["DataSource"]["S3DataSource"]["S3Uri"]
        bucket, _ = split(uri)
        output = request["TransformOutput"]
        processing = _Processing(request.get("DataProcessing") or {})

        def answer(body: bytes) -> bytes:
            check_not_stopped(job)
            if process.poll() is not None:
                raise ended(process, log)
            asked = processing.asked(body)
            return processing.answered(body, _post(port, asked, source.get("ContentType"), output.get("Accept")))

        for key, name in storage.keys(uri):
            content = storage.read(bucket, key)
            if source.get("CompressionType") == "Gzip":
                content, name = gzip.decompress(content), name.removesuffix(".gz")
            bodies = _payloads(content, source.get("SplitType", "None"), settings)
            answers = list(_in_order(answer, bodies, settings["concurrent"]))
            storage.write(
                f"{output['S3OutputPath'].rstrip('/')}/{name}.out", _assembled(answers, output.get("AssembleWith"))
            )


@contextmanager
def _serving(
    environment: Mapping[str, str], storage: Storage, log: Path, children: Children
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """`serve` and its port, which is held until it has ended."""
    with Held() as held:
        given = {**environment, "SAGEMAKER_BIND_TO_PORT": str(held.number), "HOST": "127.0.0.1"}
        process = start(["python", "-m", "inference", "serve"], given, storage, log, children)
        try:
            yield process, held.number
        finally:
            children.stop(process, grace_seconds=30)


def fetch_model(container: Mapping[str, Any], storage: Storage, model: Path) -> None:
    """A container's artifact, unpacked as SageMaker does."""
    source = (container.get("ModelDataSource") or {}).get("S3DataSource")
    model.mkdir(parents=True)
    if source is not None and source.get("CompressionType") == "None":
        storage.download_all(source["S3Uri"], model)
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


def _wait_for_ping(process: subprocess.Popen[bytes], port: int, log: Path, job: Job) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        check_not_stopped(job)
        if process.poll() is not None:
            raise ended(process, log)
        try:
            if ask(port, "GET", "/ping", timeout=2)[0] == 200:
                return
        except OSError:
            pass
        if time.monotonic() > deadline:
            raise JobFailed(f"ClientError: the container did not answer /ping within {_START_SECONDS} s.")
        time.sleep(0.05)


def _settings(request: Mapping[str, Any], port: int) -> dict[str, Any]:
    """Batch strategy, payload limit and requests at once: the request's, else the container's, else SageMaker's."""
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


def _in_order(answer: Callable[[bytes], bytes], bodies: Iterator[bytes], concurrent: int) -> Iterator[bytes]:
    """The answers in the order of the questions, with at most `concurrent` under way."""
    waiting: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(concurrent, thread_name_prefix="transform") as pool:
        for body in bodies:
            waiting.append(pool.submit(answer, body))
            if len(waiting) >= concurrent:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class _Processing:
    """DataProcessing: what of each record is sent, and what of each answer is kept, joined with its record or not."""

    def __init__(self, wanted: Mapping[str, str]) -> None:
        self._input = data_processing.Path.parse("InputFilter", wanted.get("InputFilter") or "$")
        self._output = data_processing.Path.parse("OutputFilter", wanted.get("OutputFilter") or "$")
        self._joined = wanted.get("JoinSource") == "Input"

    def asked(self, body: bytes) -> bytes:
        """What is sent of a request's records."""
        if self._input.whole:
            return body
        return _lines_of(self._of(self._input, json.loads(line)) for line in _split(body))

    def answered(self, body: bytes, answer: bytes) -> bytes:
        """What is kept of the answers to `body`.

        Raises:
            JobFailed: SageMaker has no place for the error of one record; it ends the job.
        """
        if self._output.whole and not self._joined:
            return answer
        records, answers = _split(body), _split(answer)
        if self._joined and len(records) != len(answers):
            raise JobFailed(f"ClientError: {len(answers)} answers to {len(records)} records can't be joined.")
        values = (json.loads(line) for line in answers)
        if self._joined:
            values = (
                data_processing.join(json.loads(line), value) for line, value in zip(records, values, strict=True)
            )
        return _lines_of(self._of(self._output, value) for value in values)

    @staticmethod
    def _of(path: data_processing.Path, value: Any) -> Any:
        try:
            return path.of(value)
        except data_processing.NothingFound as nothing:
            raise JobFailed(f"ClientError: {nothing}") from None


def _lines_of(values: Iterator[Any]) -> bytes:
    try:
        return b"".join(json.dumps(value).encode() + b"\n" for value in values)
    except ValueError as broken:
        raise JobFailed(f"ClientError: Unable to parse data as JSON: {broken}") from None


def _split(body: bytes) -> list[bytes]:
    return body.removesuffix(b"\n").split(b"\n")


def _payloads(content: bytes, split_type: str, settings: Mapping[str, Any]) -> Iterator[bytes]:
    """An object's bytes as requests: whole, line by line, or as many lines as fit."""
    if split_type != "Line":
        yield content
        return
    most: int = settings["most_bytes"]
    payload, size = bytearray(), 0
    # Each line with its break: an empty line is a record too, and gets its answer.
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


def _post(port: int, body: bytes, content_type: str | None, accept: str | None) -> bytes:
    headers = {"Content-Type": content_type or "application/octet-stream"}
    if accept:
        headers["Accept"] = accept
    try:
        status, answer = ask(port, "POST", "/invocations", body, headers, timeout=_ANSWER_SECONDS)
    except OSError as broken:
        raise JobFailed(f"AlgorithmError: the container closed the connection: {broken}") from None
    if status != 200:
        raise JobFailed(f"ClientError: the container answered {status}: {answer[:300].decode(errors='replace')}")
    return answer


def _assembled(answers: list[bytes], assemble_with: str | None) -> bytes:
    if assemble_with == "Line":
        # After each answer, also after one that ends in a newline: so does SageMaker.
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
    """A container's status and answer to one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read()
    except http.client.HTTPException as broken:
        raise OSError(str(broken)) from None
    finally:
        connection.close()
