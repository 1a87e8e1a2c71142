"""Batch Transform: unpacks the model, starts the container's server, and posts the input's lines to it."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from local.children import Children
from local.jobs.container import JobFailed, Storage, check_not_stopped, ended, split, start
from local.mends.jobs import Job

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
    _fetch_model(container, storage, model)
    log = folder / "container.log"
    port = _free_port()
    environment = {
        **(container.get("Environment") or {}),
        **(request.get("Environment") or {}),
        "SAGEMAKER_BATCH": "true",
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "SM_MODEL_DIR": str(model),
        "HOST": "127.0.0.1",
    }
    process = start(["python", "-m", "inference", "serve"], environment, storage, log, children)
    try:
        _wait_for_ping(process, port, log, job)
        settings = _settings(request, port)
        source = request["TransformInput"]
        uri = source["DataSource"]["S3DataSource"]["S3Uri"]
        bucket, _ = split(uri)
        output = request["TransformOutput"]
        for key, name in storage.keys(uri):
            answers = []
            for body in _payloads(storage.read(bucket, key), source.get("SplitType", "None"), settings):
                check_not_stopped(job)
                if process.poll() is not None:
                    raise ended(process, log)
                answers.append(_post(port, body, source.get("ContentType"), output.get("Accept")))
            storage.write(
                f"{output['S3OutputPath'].rstrip('/')}/{name}.out", _assembled(answers, output.get("AssembleWith"))
            )
    finally:
        children.stop(process, grace_seconds=30)


def _fetch_model(container: Mapping[str, Any], storage: Storage, model: Path) -> None:
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
            if _ask(port, "GET", "/ping", timeout=2)[0] == 200:
                return
        except OSError:
            pass
        if time.monotonic() > deadline:
            raise JobFailed(f"ClientError: the container did not answer /ping within {_START_SECONDS} s.")
        time.sleep(0.05)


def _settings(request: Mapping[str, Any], port: int) -> dict[str, Any]:
    """Batch strategy and payload limit: the request's, else the container's, else SageMaker's."""
    offered: dict[str, Any] = {}
    try:
        status, body = _ask(port, "GET", "/execution-parameters", timeout=5)
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
    }


def _payloads(content: bytes, split_type: str, settings: Mapping[str, Any]) -> Iterator[bytes]:
    """An object's bytes as requests: whole, line by line, or as many lines as fit."""
    if split_type != "Line":
        yield content
        return
    most: int = settings["most_bytes"]
    batch: list[bytes] = []
    size = 0
    for line in content.split(b"\n"):
        if not line:
            continue
        if most and len(line) > most:
            raise JobFailed(f"ClientError: a record of {len(line)} bytes is larger than MaxPayloadInMB.")
        if settings["strategy"] == "SingleRecord":
            yield line
        elif batch and most and size + len(line) > most:
            yield b"\n".join(batch)
            batch, size = [line], len(line) + 1
        else:
            batch.append(line)
            size += len(line) + 1
    if batch:
        yield b"\n".join(batch)


def _post(port: int, body: bytes, content_type: str | None, accept: str | None) -> bytes:
    headers = {"Content-Type": content_type or "application/octet-stream"}
    if accept:
        headers["Accept"] = accept
    try:
        status, answer = _ask(port, "POST", "/invocations", body, headers, timeout=_ANSWER_SECONDS)
    except OSError as broken:
        raise JobFailed(f"AlgorithmError: the container closed the connection: {broken}") from None
    if status != 200:
        raise JobFailed(f"ClientError: the container answered {status}: {answer[:300].decode(errors='replace')}")
    return answer


def _assembled(answers: list[bytes], assemble_with: str | None) -> bytes:
    if assemble_with == "Line":
        return b"".join(answer.rstrip(b"\n") + b"\n" for answer in answers)
    return b"".join(answers)


def _ask(
    port: int,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    timeout: float,
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read()
    except http.client.HTTPException as broken:
        raise OSError(str(broken)) from None
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
