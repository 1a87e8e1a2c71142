"""Comparison of two versions of a model: metrics from each source that both have, and differences of the package."""

from __future__ import annotations

from typing import Any

from promotion.domain.model import Evidence, VersionState
from promotion.rendering.documents.card import differences
from promotion.rendering.documents.evidence import comparison


def compared_document(candidate: VersionState, other: VersionState, environments: tuple[str, ...]) -> dict[str, Any]:
    """Compare `candidate` with `other`: one part for the registered metrics and one for each environment's run."""
    mine, theirs = _evidence(candidate, environments[0]), _evidence(other, environments[0])
    return {
        "version": candidate.version,
        "with": other.version,
        "parts": [
            {"place": place, "metrics": comparison(mine[place], theirs[place], ())}
            for place in mine
            if place in theirs and (mine[place].metrics or theirs[place].metrics)
        ],
        "differences": differences(candidate, other, environments),
    }


def _evidence(state: VersionState, first: str) -> dict[str, Evidence]:
    """Return a version's evidence by its source: `registered`, or the environment in which it was measured."""
    asked = state.requests.get(first)
    registered = asked.evidence if asked is not None and asked.evidence.source == "registration" else None
    return {**({"registered": registered} if registered else {}), **state.evidence}
