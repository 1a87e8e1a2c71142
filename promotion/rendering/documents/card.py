"""View data of a package: origin, content, missing fields, and changes from the live version."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import zip_longest
from typing import Any

from promotion import names
from promotion.domain.gate_result import GateKind, GateResult
from promotion.domain.model import Container, Evidence, Package, VersionState
from promotion.domain.registration import object_at
from promotion.domain.sagemaker_model import brings_code
from promotion.domain.variables import changed, shown
from promotion.formatting import iso, one_line, readable, size

LONGEST_DESCRIPTION = 2000
LONGEST_METADATA_VALUE = 256
METADATA_SHOWN = 60
# The longest variable: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ContainerDefinition.html
LONGEST_VARIABLE = 1024
LONGEST_COMPARED = 120
DIFFERS_FURTHER = " (differs further on)"
LONGEST_CARD_TEXT = 1500

# The rows that are shown, and the metadata keys (lower case, `-` as `_`) of each.
_LINEAGE: dict[str, tuple[str, ...]] = {
    "Base model": ("base_model", "basemodel", "pretrained_model", "foundation_model"),
    "Base model’s revision": ("base_model_revision", "base_revision", "model_revision"),
    "Licence": ("licence", "license", "base_model_licence", "base_model_license"),
    "Licence accepted": ("licence_accepted", "license_accepted", "accept_eula", "accepteula"),
    "Training data": ("training_data", "dataset", "training_dataset", "data", "data_version"),
    "Training job": ("training_job", "training_job_arn", "training_job_name"),
    "Code": ("commit", "commit_id", "git_commit", "git_sha", "code", "repository"),
    "Parameters": ("parameters", "hyperparameters", "hyper_parameters"),
}
# The sections of SageMaker's model card content that matter for a decision:
# https://docs.aws.amazon.com/sagemaker/latest/dg/model-cards.html
_CARD = (
    ("Intended use", "intended_uses", "intended_uses"),
    ("Limitations and caveats", "additional_information", "caveats_and_recommendations"),
    ("Risk rating", "intended_uses", "risk_rating"),
    ("Why this risk rating", "intended_uses", "explanations_for_risk_rating"),
    ("Data set", "training_details", "training_job_details"),
    ("Purpose", "intended_uses", "purpose_of_model"),
    ("What affects how well it works", "intended_uses", "factors_affecting_model_efficiency"),
    ("Ethical considerations", "additional_information", "ethical_considerations"),
    ("Business problem", "business_details", "business_problem"),
    ("What it was trained to do", "training_details", "objective_function"),
    ("Training, observed", "training_details", "training_observations"),
)
_OF_A_BASE_MODEL = frozenset({"Base model", "Base model’s revision", "Licence accepted"})
NO_ROOM = (
    "Its metadata in the registry is full: 50 properties are the most, and there is no room for one field per environment. "
    "ModelApprovalStatus, Parameter Store and this page follow decisions all the same; register it with fewer properties to "
    "have the fields too."
)
_OWN_KEYS = frozenset({"requested_by"})


def package_document(
    package: Package,
    evidence: Evidence | None,
    environments: tuple[str, ...],
    gates: Iterable[GateResult] = (),
    *,
    own_image: str = "",
) -> dict[str, Any]:
    """Build a package's data. `missing` names absent fields that `gates` or the kind of model need.

    `is_code` is True if a container has an image other than `own_image`, which is this service's image if it is known.
    """
    text, left_out = readable(package.description, LONGEST_DESCRIPTION)
    lineage = _lineage(package.metadata, evidence)
    expected = _expected(lineage, gates)
    missing = [row["label"].lower() for row in lineage if not row["value"] and row["label"] in expected]
    missing += ["model card"] if "model card" in expected and not package.card else []
    return {
        "arn": package.arn,
        "containers": [_container(container) for container in package.containers],
        "is_code": brings_code(package.containers, own_image),
        "size": sum(container.size for container in package.containers),
        "files": sum(container.files for container in package.containers),
        "content_types": list(package.content_types),
        "response_types": list(package.response_types),
        "requester": requester_document(package),
        "description": text,
        "description_left_out": left_out,
        "created_at": iso(package.created_at) if package.created_at else None,
        "metadata": metadata(package, environments),
        "described": {**package.described},
        "lineage": lineage,
        "card": [{"title": title, "text": text} for title, text in package.card],
        "missing": missing,
        "hashing": package.hashing,
        "problem": readable(package.problem, 1000)[0],
        "note": NO_ROOM if package.no_room else "",
    }


def _expected(lineage: list[dict[str, str]], gates: Iterable[GateResult]) -> set[str]:
    """Return the rows that a reader expects: those of gates; of a fine-tuned model its base model and licence."""
    given = {row["label"] for row in lineage if row["value"]}
    expected = {"Base model", "Base model’s revision", "Licence"} if given & _OF_A_BASE_MODEL else set()
    for gate in gates:
        if gate.kind is GateKind.LICENCE:
            expected.add("Licence")
        elif gate.kind is GateKind.ATTACHED and gate.required == "model_card":
            expected.add("model card")
    return expected


def requester_document(package: Package) -> dict[str, object] | None:
    """Return the requester of a version and the source of that name; None if unknown."""
    if package.requester is None:
        return None
    actor = package.requester.actor
    self_declared = package.requester.declared_by == "self"
    return {
        "name": one_line(actor.label, 120),
        "subject": one_line(actor.subject, 200),
        "email": one_line(actor.email, 320),
        "declared_by": package.requester.declared_by,
        "how": "self-declared" if self_declared else "recorded by AWS",
    }


def requester_address(package: Package) -> str:
    """Return the requester's mail address; empty if unknown."""
    if package.requester is None:
        return ""
    actor = package.requester.actor
    return next((text for text in (actor.email, actor.subject) if _is_address(text)), "")


def metadata(package: Package, environments: tuple[str, ...]) -> dict[str, str]:
    """Return a package's own metadata, without the fields that this service writes."""
    own = {
        one_line(key, 128): one_line(value, LONGEST_METADATA_VALUE)
        for key, value in package.metadata.items()
        if key not in environments
    }
    return dict(list(own.items())[:METADATA_SHOWN])


def differences(candidate: VersionState, live: VersionState, environments: tuple[str, ...]) -> list[dict[str, str]]:
    """List the differences from the live version except metrics: digest, image, size, settings, metadata.

    Whole values are compared, but only their beginnings are shown.
    """
    found: list[dict[str, str]] = []

    def compare(what: str, before: str, after: str, longest: int = LONGEST_COMPARED) -> None:
        if before == after:
            return
        here, there = one_line(before, longest) or "—", one_line(after, longest) or "—"
        found.append({"what": what, "live": here, "candidate": there if here != there else f"{there}{DIFFERS_FURTHER}"})

    def compare_digests(what: str, before: str, after: str, length: int) -> None:
        if before != after:
            found.append({"what": what, "live": before[:length] or "—", "candidate": after[:length] or "—"})

    new, old = candidate.package, live.package
    pairs = list(zip_longest(old.containers, new.containers, fillvalue=Container(image="")))
    places = [f" of container {number}" if len(pairs) > 1 else "" for number in range(1, len(pairs) + 1)]
    for place, (before, after) in zip(places, pairs, strict=True):
        compare_digests(f"Artifact (SHA-256){place}", before.sha256, after.sha256, 12)
        if before.size != after.size:
            compare(f"Size{place}", size(before.size), size(after.size))
        compare(f"Image{place}", before.image, after.image, 200)
        compare_digests(f"Image digest{place}", before.image_digest, after.image_digest, 19)
    compare("Containers", str(len(old.containers)), str(len(new.containers)))
    for place, (before, after) in zip(places, pairs, strict=True):
        for key in sorted({*before.environment, *after.environment}):
            values = changed(key, before.environment.get(key, ""), after.environment.get(key, ""))
            compare(f"Setting {one_line(key, 60)}{place}", *values)
    before_data, after_data = metadata(old, environments), metadata(new, environments)
    for key in sorted({*before_data, *after_data} - _OWN_KEYS):
        compare(key, before_data.get(key, ""), after_data.get(key, ""), LONGEST_METADATA_VALUE)
    return found


def card_sections(model_card: object) -> tuple[tuple[str, str], ...]:
    """Return a ModelCard's sections on intended use, limitations, risks and data, as title and text; may be empty."""
    content = model_card.get("ModelCardContent") if isinstance(model_card, Mapping) else None
    if not content:
        return ()
    try:
        card = json.loads(content)
    except (TypeError, ValueError, RecursionError):
        card = None
    if not isinstance(card, Mapping):
        return (("Model card", "One is attached, but it can’t be read: it is not a JSON object."),)
    found: list[tuple[str, str]] = []
    for title, section, key in _CARD:
        value = object_at(card, section).get(key)
        if isinstance(value, Mapping):
            value = _datasets(value) if title == "Data set" else value.get("function")
        if isinstance(value, str) and value.strip():
            found.append((title, readable(value, LONGEST_CARD_TEXT)[0]))
    return tuple(found) or (("Model card", "One is attached, but none of its sections says what a decision rests on."),)


def made_by(properties: object) -> dict[str, str]:
    """Return AWS's MetadataProperties under the names of the usual metadata keys."""
    given = properties if isinstance(properties, Mapping) else {}
    words = {"CommitId": "commit", "Repository": "repository", "GeneratedBy": "training_job"}
    return {word: str(given[key]) for key, word in words.items() if given.get(key)}


def _datasets(job: Mapping[str, object]) -> str:
    places = job.get("training_datasets")
    return "\n".join(one_line(str(place), 300) for place in places[:10]) if isinstance(places, list) else ""


def _lineage(given: Mapping[str, str], evidence: Evidence | None) -> list[dict[str, str]]:
    known = {key.lower().replace("-", "_").replace(" ", "_"): value for key, value in given.items()}
    if evidence is not None and evidence.licence:
        known.setdefault("licence", evidence.licence)
    return [
        {
            "label": label,
            "value": next((one_line(known[key], LONGEST_METADATA_VALUE) for key in keys if known.get(key)), ""),
        }
        for label, keys in _LINEAGE.items()
    ]


def _container(container: Container) -> dict[str, object]:
    return {
        "image": container.image,
        "image_digest": container.image_digest,
        "image_can_move": container.image_can_move,
        "model_data_url": container.model_data_url,
        "model_data_version_id": container.model_data_version_id,
        "size": container.size,
        "files": container.files,
        "sha256": container.sha256,
        "manifest_sha256": container.manifest_sha256,
        "environment": {
            one_line(name, LONGEST_VARIABLE): one_line(value, LONGEST_VARIABLE)
            for name, value in shown(container.environment).items()
        },
    }


def _is_address(text: str) -> bool:
    # ARNs and similar names rarely contain an @.
    return len(text) <= 320 and names.ADDRESS_PATTERN.fullmatch(text) is not None
