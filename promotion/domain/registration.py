"""Licence, model card, reports and drift baseline of a registered package; gates can require them.

It is read once, when a version is registered, and goes with the version from environment to environment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from promotion.domain.model import Evidence, Package

LONGEST_LICENCE = 256
# Metadata keys, in lower case with `-` as `_`; British and American, the model's own and that of what it was made from.
_LICENCE_KEYS = ("licence", "license", "base_model_licence", "base_model_license")
_REPORTS = {
    "Bias": ("Report", "PreTrainingReport", "PostTrainingReport"),
    "Explainability": ("Report",),
}


def licence_of(metadata: Mapping[str, Any]) -> str:
    """Return the licence in the metadata; `A AND B` if model and base model have different ones."""
    known = {
        str(key).lower().replace("-", "_").replace(" ", "_"): str(value).strip() for key, value in metadata.items()
    }
    named: dict[str, str] = {}
    for key in _LICENCE_KEYS:
        if known.get(key):
            named.setdefault(known[key].casefold(), known[key])
    return " AND ".join(named.values())[:LONGEST_LICENCE]


def attached_to(description: Mapping[str, Any]) -> tuple[str, ...]:
    """Which of `model_card` and `report` a described package has. A card that isn't a JSON object is none."""
    found = ["model_card"] if _is_a_card(description.get("ModelCard")) else []
    metrics = _part(description, "ModelMetrics")
    reports = (_part(_part(metrics, kind), name) for kind, names in _REPORTS.items() for name in names)
    return (*found, "report") if any(report.get("S3Uri") for report in reports) else tuple(found)


def baseline_of(description: Mapping[str, Any]) -> str:
    """S3 address of the training data's profile, the baseline for drift; empty without one.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DriftCheckBaselines.html
    """
    quality = _part(_part(description, "DriftCheckBaselines"), "ModelDataQuality")
    return str(_part(quality, "Statistics").get("S3Uri") or "")


def carried(evidence: Evidence, package: Package) -> Evidence:
    """Evidence of a run with what its version was registered with: no run can measure a licence."""
    return replace(evidence, licence=package.licence, attached=package.attached)


def _is_a_card(model_card: Any) -> bool:
    try:
        return isinstance(json.loads(_part({"card": model_card}, "card").get("ModelCardContent") or ""), dict)
    except (TypeError, ValueError, RecursionError):
        return False


def _part(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = document.get(key)
    return part if isinstance(part, Mapping) else {}
