"""`resolve`: the one model approved for an environment, its signature checked, for pipelines.

Needs only boto3 and cryptography, and no access to the ledger. The public key comes from configuration: with a key from the same
parameter, a record that an intruder wrote would be valid too.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promotion import names
from promotion.client import seen_sequences
from promotion.client.folder_artifact import (
    check_newest,
    check_versions,
    find_object_list,
    is_folder,
    object_list_key,
)
from promotion.client.live_record import LiveContainer, LiveModel, live_model, parse_live, signed_bytes
from promotion.client.seen_sequences import seen
from promotion.client.signature import holds, public_keys
from promotion.errors import IntegrityError, Invalid, NotApproved

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_ssm.client import SSMClient

_lock = threading.Lock()
_clients: dict[tuple[str, ...], Any] = {}
# The variables that determine boto3's account and region.
_PLACE = ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL")
# A client belongs to one account and region. A record verified with one key is not verified for another.
_cache: dict[tuple[Any, str, str, str, str], tuple[float, LiveModel]] = {}


def resolve(
    group: str,
    environment: str,
    *,
    artifact: bool = False,
    by_version: bool = False,
    public_key: str | None = None,
    prefix: str | None = None,
    minimum_sequence: int = 0,
    remember: str | os.PathLike[str] | None = None,
    cache_seconds: float = 0.0,
    ssm: Any = None,
    s3: Any = None,
    on_bytes: Callable[[int], None] = lambda count: None,
) -> LiveModel:
    """The model approved for `environment`, or an error; never something else.

    With `artifact`, each container's object in S3 is read and hashed too: the newest one at its address, which is what a reader
    of that address gets. With `by_version`, also alone, it is the approved object version instead, for a caller who reads
    `model_data_url` by `model_data_version_id`. Of a folder in S3 (an address that ends in a slash) that is every object; their
    versions are the container's `objects`, where the list of them can be read. `public_key` is a PEM, or the path of a file of
    PEMs; see `find_public_key` for its default. `cache_seconds` reuses an answer for that long, which delays the effect of a
    revocation as much. A record of an event before `minimum_sequence` is refused: store the highest `sequence` that you have
    seen, and an older record can't be put back. `remember` names a file that stores it.
    `on_bytes` is called with the number of bytes read of an artifact, once a MiB.

    Raises:
        NotApproved: nothing was approved there, or it was revoked.
        IntegrityError: the record or the bytes are not those that were approved.
        Invalid: no public key is configured, or `remember` names a file that is none of ours.
    """
    artifact = artifact or by_version
    prefix = prefix or os.environ.get(names.PREFIX) or names.DEFAULT_PREFIX
    ssm = ssm or _client("ssm")
    key = (ssm, prefix, group, environment, public_key or os.environ.get(names.PUBLIC_KEY) or "")
    name = names.live_parameter(prefix, group, environment)
    minimum = max(minimum_sequence, seen(remember, name) if remember is not None else 0)
    cached = _cache.get(key)
    if cache_seconds > 0 and cached and not artifact and time.monotonic() - cached[0] < cache_seconds:
        _refuse_older(name, cached[1].sequence, minimum)
        if remember is not None:
            seen_sequences.remember(remember, name, cached[1].sequence)
        return cached[1]
    try:
        value = ssm.get_parameter(Name=name)["Parameter"]["Value"]
    except ssm.exceptions.ParameterNotFound:
        raise NotApproved(f"{group} has nothing approved for {environment}: there is no {name}{_where(ssm)}.") from None
    record = parse_live(value, group=group, environment=environment)
    source = public_key or find_public_key()
    if not holds(public_keys(source), signed_bytes(record), record["signature"]):
        of = "" if source.lstrip().startswith("-----") else f", {source}"
        raise IntegrityError(f"{name}{_where(ssm)}: the signature is not that of the configured public key{of}.")
    # Checked before a revocation is reported, because the revoked record may be the old one that was put back.
    _refuse_older(name, record["sequence"], minimum)
    if remember is not None:
        seen_sequences.remember(remember, name, record["sequence"])
    model = live_model(record)
    if artifact:
        reader = s3 or _client("s3")
        found = (
            _checked(each, by_version, ssm=ssm, s3=reader, prefix=prefix, on_bytes=on_bytes)
            for each in model.containers
        )
        model = replace(model, containers=tuple(found))
    _cache[key] = (time.monotonic(), model)
    return model


def _checked(
    container: LiveContainer,
    by_version: bool,
    *,
    ssm: SSMClient,
    s3: S3Client,
    prefix: str,
    on_bytes: Callable[[int], None],
) -> LiveContainer:
    """Check a container's artifact; return the container, with its object versions if it is a folder and they can be read."""
    url = container.model_data_url
    if not is_folder(url):
        if url:
            version_id = container.model_data_version_id
            check_artifact(url, version_id, container.sha256, by_version=by_version, s3=s3, on_bytes=on_bytes)
        return container
    approved = find_object_list(ssm, s3, prefix, container.sha256)
    if not by_version:
        check_newest(s3, url, container.manifest_sha256, approved, on_bytes)
    elif approved is None:
        raise Invalid(
            "by_version",
            f"the list of approved object versions of {url} can't be read: it is {object_list_key(container.sha256)} in the "
            f"service's evidence bucket, which {names.service_parameter(prefix)} names. Allow ssm:GetParameter and "
            "s3:GetObject on both.",
        )
    else:
        check_versions(s3, url, approved, on_bytes)
    return replace(container, objects=approved)


def _refuse_older(name: str, sequence: int, minimum: int) -> None:
    if sequence < minimum:
        raise IntegrityError(
            f"{name}: the record is of event {sequence}, before event {minimum}: an older one was put back."
        )


def find_public_key() -> str:
    """Find the configured public key.

    The order is PROMOTION_PUBLIC_KEY (PEM or path), promotion.pub beside the configuration or in the working directory,
    and etc/promotion/promotion.pub under the Python environment.

    Returns:
        The PEM, or the path of a PEM file.

    Raises:
        Invalid: no public key is configured.
    """
    given = os.environ.get(names.PUBLIC_KEY)
    if given:
        return given
    beside = Path(os.environ.get(names.CONFIG, names.CONFIG_FILE)).parent
    for folder in (beside, Path(sys.prefix) / "etc" / "promotion"):
        if (folder / names.PUBLIC_KEY_FILE).is_file():
            return str(folder / names.PUBLIC_KEY_FILE)
    raise Invalid(
        names.PUBLIC_KEY,
        "no public key is configured; put the signing key's PEM into promotion.pub beside promotion.toml "
        "(aws kms get-public-key), or set this variable to it or to its path.",
    )


def check_artifact(
    url: str,
    version_id: str,
    sha256: str,
    *,
    by_version: bool = True,
    s3: Any = None,
    on_bytes: Callable[[int], None] = lambda count: None,
) -> None:
    """Read an object of S3 and compare its bytes with the approved SHA-256.

    Args:
        url: The object's s3:// address.
        version_id: The approved object version; empty where the bucket keeps none.
        sha256: The approved digest.
        by_version: Read that version, rather than the newest object at the address.
        s3: An S3 client.
        on_bytes: Called with the number of bytes read so far, once a MiB.

    Raises:
        IntegrityError: The object is gone, or its bytes differ.
    """
    bucket, _, key = url.removeprefix("s3://").partition("/")
    s3 = s3 or _client("s3")
    extra = {"VersionId": version_id} if version_id and by_version else {}
    instead = (
        f" The approved bytes are its version {version_id}: read that (promotion resolve --artifact --by-version, or "
        "resolve(…, artifact=True, by_version=True)), or put it back."
        if version_id and not by_version
        else ""
    )
    digest, read = hashlib.sha256(), 0
    try:
        for chunk in s3.get_object(Bucket=bucket, Key=key, **extra)["Body"].iter_chunks(1 << 20):
            digest.update(chunk)
            read += len(chunk)
            on_bytes(read)
    except s3.exceptions.ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchKey", "NoSuchVersion", "404", "NoSuchBucket"):
            raise IntegrityError(f"{url}: the approved artifact is gone.{instead}") from None
        raise
    if digest.hexdigest() != sha256:
        raise IntegrityError(
            f"{url}: the bytes are not those that were approved (SHA-256 {digest.hexdigest()}, approved {sha256}).{instead}"
        )


def _client(service: str) -> Any:
    """Return a cached client for a service and place, because making one costs more than using it."""
    place = (service, *(os.environ.get(name, "") for name in _PLACE))
    with _lock:
        if place not in _clients:
            import boto3

            make: Callable[..., Any] = boto3.client
            _clients[place] = make(service)
        return _clients[place]


def _where(client: Any) -> str:
    """The region of a client, for messages."""
    region = getattr(getattr(client, "meta", None), "region_name", "")
    return f" in {region}" if isinstance(region, str) and region else ""
