"""`promotion gates explain`: the result of each quality gate, for evidence in the ledger or a metrics file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from promotion.cli.tables import print_line, table
from promotion.config import loading as configuration
from promotion.config.loading import Config
from promotion.domain.gate_result import GateResult
from promotion.domain.gate_sentences import gate_bound, gate_name, gate_why
from promotion.domain.gates import evaluate
from promotion.domain.metrics import evidence_of
from promotion.domain.model import Evidence, VersionState
from promotion.domain.registration import carried
from promotion.errors import Invalid
from promotion.formatting import number

PASSED, FAILED = 0, 5


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """Gate results for an environment; `judged` is `recorded` if a request has them, else `now`."""

    model_package_group: str
    environment: str
    evidence: str
    judged: str
    gates: tuple[GateResult, ...]
    model_package_version: int | None = None
    live_version: int | None = None
    problem: str = ""

    @property
    def is_open(self) -> bool:
        return not self.problem and all(gate.open for gate in self.gates)


def explain_version(group: str, version: int, environment: str, *, as_json: bool) -> int:
    """Explain by the ledger: the recorded results if the version has a request, else those of a request made now."""
    from promotion.cli.service import config_of, ledger

    settings = config_of(group)
    rules = settings.environment(environment, group)
    view = ledger().view(group)
    state = view.find_version(version)
    if state is None:
        raise Invalid("VERSION", f"{group} has no version {version} that this service knows of.")
    live = view.environment(environment).live
    common: dict[str, Any] = {
        "model_package_group": group,
        "model_package_version": version,
        "environment": environment,
        "live_version": live,
    }
    request = state.requests.get(environment)
    if request is not None:
        said = _described(request.evidence)
        return _print_explained(
            Explained(evidence=said, judged="recorded", gates=request.gates, **common), as_json=as_json
        )
    evidence = _evidence_ahead(state, environment, settings)
    if evidence is None:
        previous = settings.previous(environment)
        problem = (
            f"there is no evidence yet: no run in {previous} has been recorded."
            if previous
            else f"there is no evidence: its approval was never requested for {environment}, whose gates read the registered "
            "metrics."
        )
        return _print_explained(
            Explained(evidence="", judged="now", gates=(), problem=problem, **common), as_json=as_json
        )
    gates = evaluate(rules.gates, evidence, view.live_evidence(environment))
    return _print_explained(
        Explained(evidence=_described(evidence), judged="now", gates=gates, **common), as_json=as_json
    )


def explain_file(
    group: str,
    environment: str,
    metrics: str,
    live: str | None,
    *,
    licence: str,
    attached: Sequence[str],
    as_json: bool,
) -> int:
    """Explain by files only, without access to AWS, before a model is registered."""
    rules = configuration.load().environment(environment, group)
    evidence = replace(read_evidence(metrics, "--metrics"), licence=licence, attached=tuple(attached))
    before = read_evidence(live, "--live") if live is not None else None
    gates = evaluate(rules.gates, evidence, before)
    found = Explained(model_package_group=group, environment=environment, evidence=metrics, judged="now", gates=gates)
    return _print_explained(found, as_json=as_json)


def read_evidence(path: str, option: str) -> Evidence:
    """Return the evidence in a metrics file of any format that registration accepts.

    Raises:
        Invalid: the file doesn't exist, or is no metrics document.
    """
    try:
        return evidence_of(json.loads(Path(path).read_bytes()), source="registration")
    except OSError as error:
        raise Invalid(option, f"{path} can't be read: {error.strerror}.") from None
    except (ValueError, RecursionError):
        raise Invalid(option, f"{path} is not JSON.") from None
    except Invalid as error:
        raise Invalid(option, f"{path}: {error.reason}") from None


def _evidence_ahead(state: VersionState, environment: str, config: Config) -> Evidence | None:
    """Return the evidence for an environment: the run in the previous one; None for the first environment."""
    previous = config.previous(environment)
    found = state.evidence.get(previous) if previous else None
    return carried(found, state.package) if found else None


def _described(evidence: Evidence) -> str:
    if evidence.source == "registration":
        return "the registered metrics"
    return f"run {evidence.run_id} in {evidence.environment}"


def _print_explained(found: Explained, *, as_json: bool) -> int:
    code = PASSED if found.is_open else FAILED
    if as_json:
        document = msgspec.to_builtins(found)
        document["gates"] = [_document(gate) for gate in found.gates]
        print(json.dumps({**document, "open": found.is_open}, indent=2, ensure_ascii=False, allow_nan=False))
        return code
    version = f" v{found.model_package_version}" if found.model_package_version is not None else ""
    failed = [gate for gate in found.gates if not gate.open]
    who = f"{found.model_package_group}{version} into {found.environment}"
    if found.problem:
        print_line(f"{who}: {found.problem}")
        return code
    how = "as its request was judged" if found.judged == "recorded" else "as it stands now"
    print_line(f"{who}, on {found.evidence}, {how}:")
    if not found.gates:
        print(f"  no gates are set for {found.environment}")
        return code
    rows = [("", "GATE", "VALUE", "BOUND", "MARGIN")]
    rows += [
        (
            "passed" if gate.open else "FAILED",
            gate_name(gate),
            _value(gate.value),
            gate_bound(gate),
            _margin(gate.margin),
        )
        for gate in (*failed, *(gate for gate in found.gates if gate.open))
    ]
    table(rows, indent="  ")
    for gate in failed:
        print_line(f"  {gate_why(gate)}")
    print(f"{len(failed)} of {len(found.gates)} failed." if failed else "All passed.")
    return code


def _document(gate: GateResult) -> dict[str, object]:
    """Return a result as a document, with its sentences."""
    said = {"name": gate_name(gate), "bound": gate_bound(gate), "why": gate_why(gate)}
    return {**said, **msgspec.to_builtins(gate)}


def _value(value: float | None) -> str:
    return number(value) if value is not None else "-"


def _margin(margin: float | None) -> str:
    return f"{margin:+.4g}" if margin is not None else "-"
