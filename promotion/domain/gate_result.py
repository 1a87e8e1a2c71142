"""The result of a gate, as stored in the ledger."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from msgspec import Struct


class GateKind(StrEnum):
    """Kind of quality gate."""

    MIN = "min"
    MAX = "max"
    SAMPLES = "samples"
    REGRESSION = "regression"
    ERROR_RATE = "error_rate"
    DRIFT = "drift"
    LICENCE = "licence"
    ATTACHED = "attached"
    RUN = "run"


class GateResult(Struct, frozen=True, kw_only=True):
    """Result of one quality gate as data; promotion/domain/gate_sentences.py makes its sentences.

    `limit` is the setting; `value` is the measurement, None if it is missing or no number. `margin` is the distance of `value`
    from the bound, negative if the gate failed. `live_value` is the live version's metric, for a regression;
    `something_live` is True if there is a live version. `refused` has the licences that are not among `allowed`,
    `required` the document that must be attached, `problem` the reason of a failed run.
    """

    kind: GateKind
    open: bool
    metric: str = ""
    limit: float | None = None
    value: float | None = None
    live_value: float | None = None
    margin: float | None = None
    relative: bool = False
    lower_is_better: bool = False
    something_live: bool = False
    allowed: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    required: str = ""
    problem: str = ""

    @property
    def threshold(self) -> float | None:
        """The number that `value` is compared with; None if there is none."""
        if self.kind is not GateKind.REGRESSION:
            return self.limit
        if self.live_value is None or self.limit is None:
            return None
        worse = self.limit * abs(self.live_value) if self.relative else self.limit
        # Rounded, because 0.65 - 0.05 is a little more than 0.6, and a regression of exactly the allowed size passes.
        return round(self.live_value + worse if self.lower_is_better else self.live_value - worse, 12)


class Measured(Struct, frozen=True, kw_only=True):
    """A completed run of a request: its metrics, and the results of its gates."""

    run_id: str
    at: datetime
    passed: bool
    values: dict[str, float] = {}
