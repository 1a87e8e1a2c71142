"""Licence, model card, reports and drift baseline of a registered package; gates can require them.

It is read once, when a version is registered, and goes with the version from environment to environment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from promotion.domain.model import Evidence, Package
from promotion.formatting import one_line, principal

LONGEST_LICENCE = 256
# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateModelPackage.html, CustomerMetadataProperties
MOST_PROPERTIES = 50
# Metadata keys, in lower case with `-` as `_`; British and American, the model's own and that of what it was made from.
_LICENCE_KEYS = ("licence", "license", "base_model_licence", "base_model_license")
LONGEST_DESCRIBED = 400
_REPORTS_SHOWN = {
    "Bias report": ("Bias", "Report"),
    "Bias report before training": ("Bias", "PreTrainingReport"),
    "Bias report after training": ("Bias", "PostTrainingReport"),
    "Explainability report": ("Explainability", "Report"),
    "Model quality statistics": ("ModelQuality", "Statistics"),
    "Data quality statistics": ("ModelDataQuality", "Statistics"),
}
_REPORTS = {
    "Bias": ("Report", "PreTrainingReport", "PostTrainingReport"),
    "Explainability": ("Report",),
}


def licence_of(metadata: Mapping[str, object]) -> str:
    """Return the licence in the metadata; `A AND B` if model and base model have different ones."""
    known = {
        str(key).lower().replace("-", "_").replace(" ", "_"): str(value).strip() for key, value in metadata.items()
    }
    named: dict[str, str] = {}
    for key in _LICENCE_KEYS:
        if known.get(key):
            named.setdefault(known[key].casefold(), known[key])
    return " AND ".join(named.values())[:LONGEST_LICENCE]


def attached_to(description: Mapping[str, object]) -> tuple[str, ...]:
    """Return which of `model_card` (a JSON object) and `report` a described package has."""
    found = ["model_card"] if _is_a_card(description.get("ModelCard")) else []
    metrics = object_at(description, "ModelMetrics")
    reports = (object_at(object_at(metrics, kind), name) for kind, names in _REPORTS.items() for name in names)
    return (*found, "report") if any(report.get("S3Uri") for report in reports) else tuple(found)


def described(description: Mapping[str, object]) -> dict[str, str]:
    """Domain, task, framework, instance types, addresses of reports and creator, as a described package has them."""
    specification = object_at(description, "InferenceSpecification")
    containers = specification.get("Containers")
    first = containers[0] if isinstance(containers, list) and containers else {}
    first = first if isinstance(first, Mapping) else {}
    identity = object_at(object_at(description, "CreatedBy"), "IamIdentity")
    said = {
        "Domain": description.get("Domain"),
        "Task": description.get("Task"),
        "Framework": " ".join(str(first.get(key) or "") for key in ("Framework", "FrameworkVersion")).strip(),
        "Nearest model": first.get("NearestModelName"),
        "Content types": _words(specification.get("SupportedContentTypes")),
        "Response types": _words(specification.get("SupportedResponseMIMETypes")),
        "Instances, real-time": _words(specification.get("SupportedRealtimeInferenceInstanceTypes")),
        "Instances, batch": _words(specification.get("SupportedTransformInstanceTypes")),
        "Created by": principal(str(identity.get("Arn") or ""))
        or object_at(description, "CreatedBy").get("UserProfileName"),
        **{label: _report(description, *path) for label, path in _REPORTS_SHOWN.items()},
    }
    return {label: one_line(str(value), LONGEST_DESCRIBED) for label, value in said.items() if value}


def _report(description: Mapping[str, object], kind: str, name: str) -> str:
    return str(object_at(object_at(object_at(description, "ModelMetrics"), kind), name).get("S3Uri") or "")


def _words(values: object) -> str:
    return ", ".join(str(value) for value in values) if isinstance(values, list | tuple) else ""


def baseline_of(description: Mapping[str, object]) -> str:
    """S3 address of the training data's profile, the baseline for drift; empty without one.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DriftCheckBaselines.html
    """
    quality = object_at(object_at(description, "DriftCheckBaselines"), "ModelDataQuality")
    return str(object_at(quality, "Statistics").get("S3Uri") or "")


def carried(evidence: Evidence, package: Package) -> Evidence:
    """Evidence of a run with what its version was registered with: no run can measure a licence."""
    return replace(evidence, licence=package.licence, attached=package.attached)


def lacks_room(properties: Mapping[str, object], environments: Sequence[str]) -> bool:
    """Return True if CustomerMetadataProperties can't take one field for each environment beside what is there."""
    return len({*properties, *environments}) > MOST_PROPERTIES


def _is_a_card(model_card: object) -> bool:
    try:
        return isinstance(json.loads(str(object_at({"card": model_card}, "card").get("ModelCardContent") or "")), dict)
    except (TypeError, ValueError, RecursionError):
        return False


def object_at(document: Mapping[str, object], key: str) -> Mapping[str, object]:
    """Return an object within a document; empty if there is none."""
    part = document.get(key)
    return part if isinstance(part, Mapping) else {}
