"""`python -m inference hash`: digests of artifacts of any size, by streaming. No model is loaded."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable
from typing import IO, Any

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from inference.batch import storage
from promotion import names
from promotion.client.artifact import HashedArtifact, Manifest, hash_artifact
from promotion.client.folder_artifact import ListedObject, hash_folder
from promotion.domain.model_layout import bytes_kept, layout_problem
from promotion.errors import Invalid

log = logging.getLogger("inference")
# The number of log lines for an artifact: a job's log is the only view of its progress.
_STEPS = 20


def command(options: argparse.Namespace) -> int:
    """Print or write SHA-256 and manifest of one artifact, or the digests of all artifacts in a plan, as JSON."""
    if options.plan:
        document = planned(options.plan, options.output)
    else:
        [source] = storage.sources(options.artifact)
        with storage.opened(source) as stream:
            hashed = _hashed(stream, source.name, source.size)
        members = [member.as_json() for member in hashed.manifest.members]
        document = {"artifact": options.artifact, **_digests(hashed), "members": members}
    text = json.dumps(document, indent=1) + "\n"
    if options.output:
        storage.put_bytes(text.encode(), options.output)
    else:
        sys.stdout.write(text)
    return 0


def planned(uri: str, output: str = "") -> dict[str, Any]:
    """Return the digests of every artifact in a plan, each in its state when the plan was made.

    The list of each artifact's members is written to the bucket of `output`, under its SHA-256.

    A problem of an archive is part of the result. An error of S3 is raised, and the service then starts the job again.
    """
    plan = json.loads(storage.read_bytes(uri))
    bucket = output.removeprefix("s3://").partition("/")[0] if output.startswith("s3://") else ""

    def keep(manifest: Manifest) -> None:
        if bucket:
            storage.put_bytes(manifest.canonical(), f"s3://{bucket}/{names.MANIFESTS}/{manifest.sha256}.json")

    return {"artifacts": [_of_plan(entry, keep) for entry in plan["artifacts"]]}


def _of_plan(entry: dict[str, Any], keep: Callable[[Manifest], None]) -> dict[str, Any]:
    artifact = entry["artifact"]
    found: dict[str, Any] = {"artifact": artifact, "version_id": entry.get("version_id", "")}
    try:
        if "objects" in entry:
            listed = [ListedObject(*each) for each in entry["objects"]]
            hashed = hash_folder(storage.client("s3"), artifact, listed, keep=bytes_kept)
        else:
            size, opened = storage.opened_pinned(artifact, entry["version_id"], entry["etag"])
            with opened as stream:
                hashed = _hashed(stream, artifact.rpartition("/")[2], size)
    except Invalid as error:
        return found | {"problem": error.reason}
    except (BotoCoreError, ClientError, HTTPError, OSError):
        raise
    except Exception as error:
        log.exception("%s can't be hashed", artifact)
        return found | {"problem": f"the artifact can't be read ({type(error).__name__})."}
    # The entry has environment variables only if the package uses this image.
    if (environment := entry.get("environment")) is not None:
        sizes = {member.path: member.size for member in hashed.manifest.members}
        if problem := layout_problem(sizes, hashed.documents, environment):
            return found | {"problem": f"the inference image can't load it: {problem}"}
    for manifest in hashed.manifests:
        keep(manifest)
    return found | _digests(hashed)


def _digests(hashed: HashedArtifact) -> dict[str, Any]:
    files = {"files": len(hashed.objects.members)} if hashed.objects else {}
    return {"size": hashed.size, "sha256": hashed.sha256, "manifest_sha256": hashed.manifest.sha256, **files}


def _hashed(stream: IO[bytes], name: str, size: int) -> HashedArtifact:
    return hash_artifact(_ProgressReader(stream, name, size), size=size, keep=bytes_kept)


class _ProgressReader:
    """A stream that reports the number of bytes read."""

    def __init__(self, stream: IO[bytes], name: str, size: int) -> None:
        self._stream, self._name, self._size = stream, name, size
        self._read, self._reported = 0, 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._read += len(data)
        share = self._read * _STEPS // self._size if self._size else _STEPS
        if share > self._reported:
            self._reported = share
            log.info("%s: %d of %d bytes hashed, %d %%", self._name, self._read, self._size, share * 100 // _STEPS)
        return data
