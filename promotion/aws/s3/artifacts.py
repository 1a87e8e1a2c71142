"""Model artifacts and evidence in S3: hashed by object version, and read completely or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError
from msgspec.structs import replace

from promotion.client.artifact import HashedArtifact, Manifest, hash_artifact, split_uri
from promotion.client.folder_artifact import ListedObject, hash_folder, is_folder, list_folder
from promotion.client.image_address import is_image
from promotion.client.kept_documents import Wanted, nothing
from promotion.domain.metrics import evidence_of
from promotion.domain.model import Container, Evidence
from promotion.domain.model_layout import bytes_kept, layout_problem
from promotion.domain.registration import attached_to, licence_of
from promotion.errors import Invalid

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

LARGEST_METRICS_BYTES = 4 << 20
# The message for a missing artifact, which may be uploaded later.
MISSING = "there is no object at"
_MISSING = ("NoSuchKey", "NoSuchBucket", "NoSuchVersion", "404")


def is_transient(error: Exception) -> bool:
    """Return True if a retry can succeed: AWS throttled the call, was unavailable, or was not reached."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
        code = error.response.get("Error", {}).get("Code", "")
        return status >= 500 or status == 429 or "Throttl" in code or code in ("SlowDown", "RequestTimeout")
    # Errors of botocore's own validation; a retry would fail again.
    return isinstance(error, BotoCoreError) and not isinstance(error, ParamValidationError)


def size_of(s3: S3Client, container: Container) -> int:
    """Return the size in bytes of a container's artifact.

    Raises:
        Invalid: there is no artifact, or it can't be read.
    """
    if is_folder(container.model_data_url):
        return sum(each.size for each in _listed(s3, container))
    head = _head(s3, container)
    return int(head["ContentLength"])


def pinned(s3: S3Client, container: Container) -> dict[str, Any]:
    """Return conditions that pin later reads to the current object: its version id, if any, and its ETag.

    Of a folder in S3 each object is pinned by its ETag.

    Raises:
        Invalid: there is no artifact, or it can't be read.
    """
    if is_folder(container.model_data_url):
        return {"objects": [[each.path, each.size, each.etag] for each in _listed(s3, container)]}
    head = _head(s3, container)
    version_id = head.get("VersionId", "")
    return {"version_id": "" if version_id == "null" else version_id, "etag": head["ETag"]}


def hash_container(
    s3: S3Client,
    container: Container,
    *,
    on_chunk: Callable[[], None] = lambda: None,
    keep: Callable[[Manifest], None] = lambda manifest: None,
    own_image: str = "",
) -> Container:
    """Return a container with the digests of its artifact, read once, by its S3 version if the bucket keeps versions.

    `on_chunk` is called at least once a MiB; an exception from it ends the read. `keep` is called with the list of
    members. `own_image` is this service's inference image: an artifact that it could not load is refused here.

    Raises:
        Invalid: there is no artifact, it can't be read, the archive is damaged, or the image can't load its files.
    """
    ours = is_image(container.image, own_image)
    kept = bytes_kept if ours else nothing
    version_id = ""
    if is_folder(container.model_data_url):
        listed = _listed(s3, container)
        hashed = hash_folder(s3, container.model_data_url, listed, on_chunk=on_chunk, keep=kept)
    else:
        version_id, hashed = _hash_archive(s3, container, on_chunk, kept)
    if ours:
        sizes = {member.path: member.size for member in hashed.manifest.members}
        if problem := layout_problem(sizes, hashed.documents, container.environment):
            raise Invalid("ModelDataUrl", f"the inference image can't load it: {problem}")
    for manifest in hashed.manifests:
        keep(manifest)
    return replace(
        container,
        model_data_version_id=version_id,
        size=hashed.size,
        files=len(hashed.manifest.members) if hashed.objects else 0,
        sha256=hashed.sha256,
        manifest_sha256=hashed.manifest.sha256,
    )


def _hash_archive(
    s3: S3Client, container: Container, on_chunk: Callable[[], None], kept: Wanted
) -> tuple[str, HashedArtifact]:
    """Read the current archive; also return its object version, if the bucket keeps versions."""
    bucket, key = split_uri(container.model_data_url, "ModelDataUrl")
    head = _head(s3, container)
    version_id = head.get("VersionId", "")
    extra: dict[str, Any] = {"VersionId": version_id} if version_id and version_id != "null" else {}
    # The ETag makes sure that the same object is read, also in a bucket without versions.
    body = s3.get_object(Bucket=bucket, Key=key, IfMatch=head["ETag"], **extra)["Body"]
    hashed = hash_artifact(body, size=int(head["ContentLength"]), on_chunk=on_chunk, keep=kept)
    return extra.get("VersionId", ""), hashed


def _listed(s3: S3Client, container: Container) -> list[ListedObject]:
    try:
        return list_folder(s3, container.model_data_url)
    except ClientError as error:
        raise _unreadable(container, error) from None


def _head(s3: S3Client, container: Container) -> HeadObjectOutputTypeDef:
    if not container.model_data_url:
        raise Invalid("ModelDataUrl", "the package names no artifact; register it with ModelDataUrl.")
    bucket, key = split_uri(container.model_data_url, "ModelDataUrl")
    try:
        return s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        raise _unreadable(container, error) from None


def _unreadable(container: Container, error: ClientError) -> Invalid | ClientError:
    """Return the error to raise for a missing or unreadable artifact; other errors of S3 are returned unchanged."""
    code = str(error.response["Error"]["Code"])
    if code in _MISSING:
        return Invalid("ModelDataUrl", f"{MISSING} {container.model_data_url}.")
    if code in ("403", "AccessDenied"):
        return Invalid(
            "ModelDataUrl",
            f"{container.model_data_url} can't be read; name its bucket under [artifacts] buckets in promotion.toml.",
        )
    return error


class Denied(Invalid):
    """This role may not read the object, which may exist; the cause is in the deployment."""


class Absent(Invalid):
    """There is no such object."""


def read_json(s3: S3Client, uri: str, field: str) -> tuple[Any, str]:
    """Return a JSON document of at most 4 MiB, and the SHA-256, hex, of its bytes.

    Raises:
        Absent: there is no such object.
        Denied: S3, or KMS for the object's key, denies this role access.
        Invalid: the object is archived, encrypted with a customer-provided key, too large, or not JSON.
        ClientError: S3 is throttled or unavailable.
    """
    bucket, key = split_uri(uri, field)
    try:
        answer = s3.get_object(Bucket=bucket, Key=key)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in _MISSING:
            raise Absent(field, f"{uri} can't be read.") from None
        if code in ("AccessDenied", "403"):
            raise Denied(
                field, f"{uri} can't be read: {error.response['Error'].get('Message', 'access denied')}"
            ) from None
        if is_transient(error):
            raise
        # The writer of the object chooses its storage class and its encryption.
        raise Invalid(field, f"{uri} can't be read: {code}.") from None
    if answer["ContentLength"] > LARGEST_METRICS_BYTES:
        raise Invalid(field, f"{uri} is larger than {LARGEST_METRICS_BYTES} bytes.")
    body = answer["Body"].read()
    try:
        document = json.loads(body)
        # JSON can contain a lone surrogate, which is no valid text for the ledger, pages and mails.
        json.dumps(document, ensure_ascii=False).encode()
        return document, hashlib.sha256(body).hexdigest()
    except (ValueError, RecursionError):
        raise Invalid(field, f"{uri} is not JSON.") from None


def read_details(s3: S3Client, evidence: Evidence) -> dict[str, object]:
    """Return the metrics document of an inference run; empty if it can't be read or has changed since."""
    if evidence.source != "inference" or not evidence.metrics_uri:
        return {}
    try:
        document, digest = read_json(s3, evidence.metrics_uri, "metrics_uri")
    except Invalid:
        return {}
    return document if isinstance(document, dict) and digest == evidence.metrics_sha256 else {}


def registered_evidence(s3: S3Client, description: Mapping[str, Any]) -> Evidence:
    """Return the evidence of a package's registration; missing or unreadable parts are noted in it, not raised."""
    metrics = description.get("ModelMetrics") or {}
    quality = ((metrics.get("ModelQuality") or {}).get("Statistics") or {}).get("S3Uri", "")
    metadata = description.get("CustomerMetadataProperties") or {}
    common: dict[str, Any] = {"licence": licence_of(metadata), "attached": attached_to(description)}
    if not quality:
        return Evidence(source="registration", status="Missing", problem="no metrics were registered", **common)
    try:
        document, digest = read_json(s3, quality, "ModelMetrics.ModelQuality.Statistics.S3Uri")
        return evidence_of(document, source="registration", metrics_uri=quality, metrics_sha256=digest, **common)
    except Invalid as error:
        problem = str(error)
    except Exception as error:
        if is_transient(error):
            raise
        problem = f"the registered metrics can't be read: {type(error).__name__}"
    return Evidence(source="registration", status="Missing", problem=problem, metrics_uri=quality, **common)
