"""Counters of a worker: sums that merge exactly, in constant memory."""

from __future__ import annotations

import math
import os
import resource
import socket
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Latencies are counted in bins that grow by 2 %, so that percentiles are exact to 1 % and workers' bins merge exactly.
_GROWTH = math.log(1.02)
_SHORTEST_MS = 0.01
# Longer than any batch could take.
_LAST_BIN = 2_000
SUMS = ("records", "errors", "truncated", "repeated_inputs", "ignored_parameters", "tokens_in", "tokens_out")


@dataclass(slots=True)
class Latencies:
    """A histogram of milliseconds."""

    bins: dict[int, int] = field(default_factory=dict)

    def add(self, seconds: float) -> None:
        place = max(0, math.ceil(math.log(max(seconds * 1_000, _SHORTEST_MS) / _SHORTEST_MS) / _GROWTH))
        self.bins[place] = self.bins.get(place, 0) + 1

    def merge(self, other: Latencies) -> None:
        for place, count in other.bins.items():
            self.bins[place] = self.bins.get(place, 0) + count

    def percentile_ms(self, percent: float) -> float:
        """Return the latency below which `percent` of the records were answered; 0 if nothing was measured."""
        total = sum(self.bins.values())
        passed = 0
        for place in sorted(self.bins):
            passed += self.bins[place]
            if passed >= total * percent / 100:
                return round(self.milliseconds(place), 3)
        return 0.0

    def as_json(self) -> dict[str, int]:
        return {str(place): count for place, count in sorted(self.bins.items())}

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Latencies:
        """Read what `as_json` wrote.

        Raises:
            ValueError: a bin is one that `add` never fills.
        """
        bins = {int(place): int(count) for place, count in value.items()}
        if not all(0 <= place <= _LAST_BIN and count >= 0 for place, count in bins.items()):
            raise ValueError("no bins of latencies")
        return cls(bins)

    @staticmethod
    def milliseconds(place: int) -> float:
        """The middle of a bin."""
        return _SHORTEST_MS * math.exp((place - 0.5) * _GROWTH)


@dataclass(slots=True)
class Counts:
    """One worker's sums, and its engine, device and precision."""

    records: int = 0
    errors: int = 0
    truncated: int = 0
    repeated_inputs: int = 0
    ignored_parameters: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    latencies: Latencies = field(default_factory=Latencies)
    # Time to the first token, only for decoders.
    first_tokens: Latencies = field(default_factory=Latencies)
    busy_seconds: float = 0.0
    engine: dict[str, Any] = field(default_factory=dict)

    def merge(self, other: Counts) -> None:
        for name in SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.latencies.merge(other.latencies)
        self.first_tokens.merge(other.first_tokens)
        self.busy_seconds += other.busy_seconds
        peak = max(self.engine.get("peak_memory_bytes", 0), other.engine.get("peak_memory_bytes", 0))
        # Workers may have used different engines, and one that ran out of memory two of them; all are named.
        for name, value in other.engine.items():
            self.engine[name] = _joined(self.engine.get(name), value)
        if peak:
            self.engine["peak_memory_bytes"] = peak

    def as_json(self) -> dict[str, Any]:
        sums = {name: getattr(self, name) for name in SUMS}
        bins: dict[str, Any] = {"latency_bins": self.latencies.as_json()}
        if self.first_tokens.bins:
            bins["first_token_bins"] = self.first_tokens.as_json()
        return {**sums, **bins, "busy_seconds": round(self.busy_seconds, 6), "engine": self.engine}

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Counts:
        sums = {name: int(value.get(name, 0)) for name in SUMS}
        return cls(
            **sums,
            latencies=Latencies.of_json(value.get("latency_bins", {})),
            first_tokens=Latencies.of_json(value.get("first_token_bins", {})),
            busy_seconds=float(value.get("busy_seconds", 0.0)),
            engine=dict(value.get("engine", {})),
        )


@dataclass(frozen=True, slots=True)
class Run:
    """Statistics of one worker's batch, for the sidecar file or the first line of a payload."""

    worker: str
    started: float  # seconds since 1970
    ended: float
    counts: Counts

    def as_json(self) -> dict[str, Any]:
        return {"worker": self.worker, "started": self.started, "ended": self.ended, **self.counts.as_json()}

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Run:
        """Read what `as_json` wrote.

        Raises:
            ArithmeticError, AttributeError, LookupError, TypeError, ValueError: the value has another form.
        """
        counts = Counts.of_json(value)
        numbers = [*(each for each in counts.engine.values() if not isinstance(each, str | None)), counts.busy_seconds]
        numbers.append(counts.engine.get("peak_memory_bytes", 0))
        started, ended = float(value["started"]), float(value["ended"])
        if not all(math.isfinite(each) for each in (*numbers, started, ended)):
            raise ValueError("a number that is none")
        return cls(str(value["worker"]), started, ended, counts)


@dataclass(frozen=True, slots=True)
class Totals:
    """All workers together."""

    counts: Counts
    wall_seconds: float

    @classmethod
    def of(cls, runs: Iterable[Run]) -> Totals:
        """Return the sums of `runs`. Wall time is each worker's first to last moment; concurrent time counts once."""
        counts, first, last = Counts(), math.inf, -math.inf
        for run in runs:
            counts.merge(run.counts)
            first, last = min(first, run.started), max(last, run.ended)
        return cls(counts, max(0.0, last - first) if last > first else 0.0)


def _joined(one: Any, other: Any) -> Any:
    """Join the values of two workers: `a+b` and `a` give `a+b`."""
    if not isinstance(one, str) or not isinstance(other, str):
        return other
    return "+".join(sorted({*one.split("+"), *other.split("+")}))


def worker_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def peak_memory_bytes() -> int:
    """Return the peak memory of this process so far."""
    try:
        # getrusage only as a fallback, because on Linux its value includes the peak of the parent process before exec.
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1_024
    except (OSError, IndexError, ValueError):
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1_024
