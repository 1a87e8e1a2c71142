"""Evidence as pages need it: read from S3, where the ledger keeps only the numbers."""

from __future__ import annotations

from typing import Any

from promotion.aws.artifacts import read_details
from promotion.domain.model import Evidence


def read_samples_and_slices(s3: Any, evidence: Evidence) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Sample predictions of a run, for signed-in eyes only, and its metrics by record field; empty where there are none."""
    document = read_details(s3, evidence)
    samples, slices = document.get("samples"), document.get("slices")
    return (
        [sample for sample in samples if isinstance(sample, dict)] if isinstance(samples, list) else [],
        slices if isinstance(slices, dict) else {},
    )
