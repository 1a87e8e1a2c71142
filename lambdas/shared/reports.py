"""Evaluations that teams report: checked as a run's own results are, and kept beside them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from lambdas.shared.version_numbers import version_number
from promotion.domain.metrics import evidence_of
from promotion.domain.model import Evidence
from promotion.errors import Invalid
from promotion.rendering.documents.pictures import LARGEST_PICTURE_BYTES, PICTURES_SHOWN, PNG

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Lambda's limit is 6 MB for the event, in which the body is JSON within JSON.
LARGEST_REPORT_BYTES = 4 << 20
_PICTURE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}\.png", re.ASCII)


class Report(Struct, frozen=True, kw_only=True):
    """A team's own evaluation of a version: its unchanged metrics file, and pictures by file name."""

    group: str
    environment: str
    version: int
    metrics: bytes
    document: Mapping[str, object]
    pictures: dict[str, bytes]

    @classmethod
    def of(cls, form: Mapping[str, str]) -> Report:
        """The report that a form holds.

        Raises:
            Invalid: it is none, or its file is about something else.
        """
        group, environment = form.get("group", ""), form.get("environment", "")
        version = version_number(form.get("version", ""))
        document = _object(form.get("metrics", ""), "metrics")
        check_subject(document, group=group, version=version, environment=environment)
        return cls(
            group=group,
            environment=environment,
            version=version,
            metrics=form["metrics"].encode(),
            document=document,
            pictures=_pictures(form.get("pictures", "")),
        )


def check_subject(
    document: Mapping[str, object], *, group: str, version: int | None, environment: str, said: bool = False
) -> None:
    """Compare the subject of a metrics document with the reported version; with `said`, the document must have one.

    Raises:
        Invalid: it is about something else.
    """
    for field, wanted in (
        ("model_package_group", group),
        ("model_package_version", version),
        ("environment", environment),
    ):
        if (said or field in document) and document.get(field) != wanted:
            raise Invalid(field, f"the report says {wanted!r}, the metrics say {document.get(field)!r}.")


def keep(report: Report, arn: str, s3: S3Client, bucket: str, now: datetime) -> Evidence:
    """Write a report below its group and environment, and return it as evidence of what `arn` reported.

    Raises:
        Invalid: the report has no metric.
    """
    digest = hashlib.sha256(report.metrics).hexdigest()
    run = f"report-{report.environment[:12]}-v{report.version}-{now:%y%m%d-%H%M%S}-{digest[:6]}"
    folder = f"{report.group}/{report.environment}/{run}/score"
    evidence = evidence_of(
        report.document,
        source="inference",
        environment=report.environment,
        run_id=run,
        metrics_uri=f"s3://{bucket}/{folder}/metrics.json",
        metrics_sha256=digest,
        pictures=tuple(f"s3://{bucket}/{folder}/{name}" for name in report.pictures),
        reporter=arn,
    )
    if not evidence.metrics:
        raise Invalid("metrics", "the file has no metric: a name with a number, or with {value, low, high, n}.")
    for name, data in report.pictures.items():
        s3.put_object(Bucket=bucket, Key=f"{folder}/{name}", Body=data, ContentType="image/png")
    s3.put_object(Bucket=bucket, Key=f"{folder}/metrics.json", Body=report.metrics, ContentType="application/json")
    return evidence


def _object(text: str, field: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
        # JSON can contain a lone surrogate, which UTF-8 can't encode, so no ledger, page or mail can contain it.
        json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Invalid(field, "it has to be a JSON object.")
    return found


def _pictures(text: str) -> dict[str, bytes]:
    """Pictures by file name, from a JSON object of base64."""
    given = _object(text, "pictures") if text else {}
    if len(given) > PICTURES_SHOWN:
        raise Invalid("pictures", f"at most {PICTURES_SHOWN} are shown.")
    found: dict[str, bytes] = {}
    for name, data in given.items():
        if not _PICTURE_NAME.fullmatch(name):
            raise Invalid("pictures", f"{name[:80]!r} is no name of a picture: letters, digits, - and _, and .png.")
        try:
            found[name] = base64.b64decode(data, validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise Invalid("pictures", f"{name} is not base64.") from None
        if not found[name].startswith(PNG) or len(found[name]) > LARGEST_PICTURE_BYTES:
            raise Invalid("pictures", f"{name} is no PNG of at most {LARGEST_PICTURE_BYTES >> 20} MiB.")
    return found
