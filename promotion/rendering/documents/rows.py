"""Types of document parts that several pages or mails use: metric rows, gates, slices, cells of the board."""

from __future__ import annotations

from typing import TypedDict


class MetricDocument(TypedDict):
    """A metric; `low` and `high` bound its 95 % confidence interval, `n` counts the samples."""

    value: float | None
    low: float | None
    high: float | None
    n: int | None


class GateDocument(TypedDict):
    """A quality gate with its result, in numbers and in sentences."""

    name: str
    kind: str
    metric: str
    open: bool
    limit: float | None
    value: float | None
    live_value: float | None
    bound: str
    margin: float | None
    why: str


class Scale(TypedDict, total=False):
    """The scale of a metric's bar: 0 to `end`, with the strictest gate at `bound`. Empty if no bar is drawn."""

    end: float
    bound: float | None


class MetricRow(TypedDict):
    """A metric of a candidate beside the same metric of the live version."""

    metric: str
    candidate: MetricDocument
    live: MetricDocument | None
    difference: float | None
    change: str
    lower_is_better: bool
    better: bool | None
    noise: bool | None
    open: bool | None
    gates: list[GateDocument]
    scale: Scale


class SliceRow(TypedDict):
    """A metric in one slice of the data, and its difference from the metric of the whole."""

    slice: str
    metric: str
    value: float
    change: str
    n: int | None


class EndedBefore(TypedDict):
    """The end of an earlier request: in words, by whom, when (ISO 8601), and the reason."""

    how: str
    by: str
    at: str
    reason: str


class Approved(TypedDict):
    """The approvers of a version for an environment, and the time (ISO 8601)."""

    environment: str
    by: list[str]
    at: str


class Point(TypedDict):
    """A metric of one version."""

    version: int
    value: float
    low: float | None
    high: float | None
    registered: bool


class Series(TypedDict):
    """A metric over the versions."""

    metric: str
    points: list[Point]


class TroubleRow(TypedDict):
    """A problem: in one word, its time (ISO 8601), in a sentence, and the remedy."""

    word: str
    tone: str
    since: str | None
    what: str
    way: str


class Difference(TroubleRow):
    """The differences that the last verification found in a group."""

    group: str
    count: int


class ClosedRow(TypedDict):
    """The last request of an environment that closed without an approval; `at` in ISO 8601.

    `again` is True if another request can help.
    """

    version: int
    state: str
    at: str
    by: str
    link: str
    again: bool


class Trouble(TypedDict):
    """The problems of the live version of an environment. Times are in ISO 8601."""

    drift: bool
    drift_since: str | None
    drifting: list[str]
    retraining_since: str | None
    retraining: str
    broken_since: str | None
    failed_since: str | None


class RefusedAddress(TypedDict):
    """An address that SES refuses permanently, and the reason."""

    address: str
    at: str
    reason: str


class Pending(TypedDict):
    """An environment's pending request. Times are in ISO 8601. `again`: it expired, and another request can help."""

    request_id: str
    version: int
    since: str
    expires_at: str
    expired: bool
    again: bool
    gates_open: bool
    stopped: str
    votes: int
    link: str


class Cell(Trouble):
    """An environment of a group on the board; `written`: Parameter Store has the version that is live by the ledger."""

    name: str
    live: int | None
    since: str | None
    by: list[str]
    revoked: bool
    written: bool
    troubles: list[TroubleRow]
    endpoint: dict[str, object] | None
    pending: Pending | None
    closed: ClosedRow | None


class Attention(Cell):
    """An environment whose live version has a problem, with its group and its page."""

    group: str
    environment: str
    link: str


class Cells(TypedDict):
    """The cells of a row of the board."""

    environments: list[Cell]
