"""Drift and constraint violations of a run's tabular inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from inference.scoring.table_constraints import violations
from inference.scoring.table_drift import baseline_columns, table_drift
from inference.scoring.tables import Table, listed_names, read_table
from promotion.errors import Invalid
from promotion.names import BASELINE_PROBLEM, CONSTRAINTS_PROBLEM


def check_inputs(inputs: Path, baseline: Mapping[str, Any], *, header: bool | None) -> dict[str, Any]:
    """Compare inputs with a baseline; a failed comparison doesn't affect the metrics of the answers.

    Args:
        inputs: the inputs of the run.
        baseline: a profile of `profile_table`, or SageMaker's statistics.json, with its constraints under
            `constraints`. If it can't be read, the reason is under `baseline_problem`; for its constraints, under
            `constraints_problem`.
        header: whether CSV files begin with column names.

    Returns:
        Parts of the metrics document: `drift`, `ks`, `violations` if there are constraints, and `drift_problem` if
        something was not measured.
    """
    found: dict[str, Any] = {"drift": {}, "ks": {}}
    problems: list[str] = []
    try:
        today = read_table(inputs, header=header, what="inputs")
    except Invalid as error:
        return {**found, "drift_problem": f"Drift was not measured: {error}"}
    baseline, today = _by_position(baseline, today)
    try:
        if said := baseline.get(BASELINE_PROBLEM):
            raise Invalid("baseline", str(said))
        found["drift"], found["ks"] = table_drift(baseline, today)
        problems.append(
            _missing([name for name in baseline_columns(baseline) if name not in today.columns], found["drift"])
        )
    except Invalid as error:
        problems.append(f"Drift was not measured: {error}")
    try:
        if said := baseline.get(CONSTRAINTS_PROBLEM):
            raise Invalid("constraints.json", str(said))
        if isinstance(constraints := baseline.get("constraints"), Mapping):
            found["violations"] = violations(constraints, today, found["ks"])
    except Invalid as error:
        problems.append(f"Constraints were not compared: {error}")
    problem = " ".join(filter(None, problems))
    return {**found, "drift_problem": problem} if problem else found


def _by_position(baseline: Mapping[str, Any], table: Table) -> tuple[Mapping[str, Any], Table]:
    """Name the columns of a file without names as SageMaker's baselines do: `_c0`, `_c1`, … by position.

    A baseline with one more column includes the target, which is in the first column for Model Monitor, but not in
    inputs:
    https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-create-baseline.html
    """
    names = [each.get("name") for each in _features(baseline)]
    extra = len(names) - len(table.names)
    if table.named or extra not in (0, 1) or names != [f"_c{place}" for place in range(len(names))]:
        return baseline, table
    if extra:
        target = names.pop(0)
        constraints = baseline.get("constraints")
        kept = {"constraints": _without(target, constraints)} if isinstance(constraints, Mapping) else {}
        baseline = {**_without(target, baseline), **kept}
    return baseline, replace(table, columns=dict(zip(names, table.columns.values(), strict=True)))


def _features(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    listed = document.get("features")
    return [each for each in listed if isinstance(each, Mapping)] if isinstance(listed, list) else []


def _without(name: object, document: Mapping[str, Any]) -> dict[str, Any]:
    return {**document, "features": [each for each in _features(document) if each.get("name") != name]}


def _missing(names: list[str], measured: Mapping[str, float]) -> str:
    """Return a sentence with the baseline's columns that the input lacks; empty if it has all."""
    if not names:
        return ""
    if not measured:
        return f"Drift was not measured: the input has no column of the baseline ({listed_names(names)})."
    return f"Drift was not measured for columns that the input lacks: {listed_names(names)}."
