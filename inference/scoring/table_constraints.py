"""Violations of SageMaker's constraints.json by a table, in the format of its constraint_violations.json.

https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-byoc-constraints.html and
https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-interpreting-violations.html
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from inference.scoring.tables import Table, class_name
from promotion.errors import Invalid

MOST_VIOLATIONS = 100
# The defaults of Model Monitor's baseline jobs: every value must be of the type, and be a known one.
_SHARE, _DISTANCE = 1.0, 0.1
_OFF = "Disabled"


def violations(constraints: Mapping[str, Any], table: Table, distance: Mapping[str, float]) -> list[dict[str, str]]:
    """Compare a table with constraints.

    Args:
        constraints: The content of constraints.json.
        table: The current input.
        distance: Kolmogorov-Smirnov distance to the baseline, by column of numbers.

    Returns:
        `feature_name`, `constraint_check_type` and `description` of each violation, 100 at most; constraints of a wrong
        type are ignored.

    Raises:
        Invalid: a number in the constraints can't be compared.
    """
    config = _mapping(constraints.get("monitoring_config"))
    if config.get("evaluate_constraints") == _OFF:
        return []
    listed = constraints.get("features")
    features = [each for each in map(_mapping, listed if isinstance(listed, list) else ()) if each.get("name")]
    found: list[dict[str, str]] = []
    for feature in features:
        own = _mapping(feature.get("monitoringConfigOverrides") or feature.get("monitoring_config_overrides"))
        name = str(feature["name"])
        if name not in table.columns:
            found.append(_violation(name, "missing_column_check", "The input has no such column."))
            continue
        checks = _of_column(feature, {**config, **own}, table, distance.get(name))
        found += [_violation(name, kind, told) for kind, told in checks]
    known = {str(feature["name"]) for feature in features}
    for name in table.names if features else ():
        if name not in known:
            found.append(_violation(name, "extra_column_check", "The baseline has no such column."))
    return found[:MOST_VIOLATIONS]


def _of_column(
    feature: Mapping[str, Any], config: Mapping[str, Any], table: Table, distance: float | None
) -> Iterator[tuple[str, str]]:
    name = str(feature["name"])
    texts = table.texts(name)
    filled = texts != ""
    complete = float(filled.mean()) if len(filled) else 1.0
    if complete < (needed := _number(feature, "completeness", 0.0)):
        yield "completeness_check", f"{complete:.2%} of the values are there, and {needed:.2%} are needed."
    if filled.any():
        yield from _of_values(feature, config, table.numbers(name)[filled], texts[filled])
    compared = _mapping(config.get("distribution_constraints"))
    most = _number(compared, "comparison_threshold", _DISTANCE)
    if distance is not None and compared.get("perform_comparison") != _OFF and distance > most:
        yield (
            "baseline_drift_check",
            f"The distance to the baseline is {distance:.4g}, and at most {most:g} is allowed.",
        )


def _of_values(
    feature: Mapping[str, Any], config: Mapping[str, Any], numbers: Any, texts: Any
) -> Iterator[tuple[str, str]]:
    kind, needed = feature.get("inferred_type"), _number(config, "datatype_check_threshold", _SHARE)
    if kind in ("Integral", "Fractional"):
        fits = np.isfinite(numbers) if kind == "Fractional" else np.isfinite(numbers) & (np.floor(numbers) == numbers)
        if (share := float(fits.mean())) < needed:
            yield "data_type_check", f"{share:.2%} of the values are {kind}, and {needed:.2%} are needed."
    domains = _mapping(feature.get("string_constraints")).get("domains")
    needed = _number(config, "domain_content_threshold", _SHARE)
    if isinstance(domains, list) and domains:
        share = float(np.isin(texts.astype(str), [class_name(each) for each in domains]).mean())
        if share < needed:
            yield "categorical_values_check", f"{share:.2%} of the values are known ones, and {needed:.2%} are needed."


def _violation(name: str, kind: str, told: str) -> dict[str, str]:
    return {"feature_name": name[:200], "constraint_check_type": kind, "description": told}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(part: Mapping[str, Any], name: str, default: float) -> float:
    value = part.get(name)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return default
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise Invalid("constraints.json", f"{name} is a number beyond all that can be compared.")
    return number
