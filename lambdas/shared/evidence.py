"""Evidence for pages, read from S3, because the ledger keeps only the numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from promotion.aws.s3.artifacts import read_details
from promotion.domain.model import Evidence

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def read_samples_and_slices(s3: S3Client, evidence: Evidence) -> tuple[list[dict[str, object]], dict[str, object]]:
    """Return a run's sample predictions, for signed-in people only, and its metrics by record field; empty without any."""
    document = read_details(s3, evidence)
    samples, slices = document.get("samples"), document.get("slices")
    return (
        [sample for sample in samples if isinstance(sample, dict)] if isinstance(samples, list) else [],
        slices if isinstance(slices, dict) else {},
    )
