"""Counters of the server, for GET /metrics, the log, and the Retry-After of refused requests."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque

from inference.records.counts import Latencies

_LONGEST_RETRY_S = 30
_LOOKED_BACK_S = 10.0


class Meter:
    """Counters since the server's start. Any thread may add to them."""

    def __init__(self) -> None:
        """Start with all counters at zero."""
        self._lock = threading.Lock()
        self.answered: Counter[int] = Counter()
        self.latency, self.first_token = Latencies(), Latencies()
        self.tokens_in = self.tokens_out = self.passes = self.passed = self.left = 0
        self._recent: deque[float] = deque(maxlen=1_000)

    def done(self, status: int, seconds: float) -> None:
        """Count an answered request, with any status."""
        with self._lock:
            self.answered[status] += 1
            if status == 200:
                self.latency.add(seconds)
                self._recent.append(time.monotonic())

    def first(self, seconds: float) -> None:
        """Record the time to a first token."""
        with self._lock:
            self.first_token.add(seconds)

    def tokens(self, taken: int, made: int) -> None:
        """Count the tokens read and generated."""
        with self._lock:
            self.tokens_in += taken
            self.tokens_out += made

    def passing(self, requests: int, *, joined: bool = False) -> None:
        """Count a forward pass with its `requests`, or requests that joined the running one."""
        with self._lock:
            self.passes += not joined
            self.passed += requests

    def gone(self) -> None:
        """Count a client that disconnected before its answer."""
        with self._lock:
            self.left += 1

    def retry_after(self, waiting: int) -> int:
        """Estimate the seconds until the waiting requests are answered, from recent throughput."""
        since = time.monotonic() - _LOOKED_BACK_S
        with self._lock:
            recent = [moment for moment in self._recent if moment > since]
        if len(recent) < 2:
            return 1
        rate = len(recent) / max(time.monotonic() - recent[0], 1e-3)
        return max(1, min(_LONGEST_RETRY_S, math.ceil(waiting / rate)))

    def text(self, waiting: int) -> str:
        """Return the counters in Prometheus's text format."""
        with self._lock:
            lines = [f'requests_total{{status="{status}"}} {count}' for status, count in sorted(self.answered.items())]
            lines += [
                f"requests_open {waiting}",
                f"clients_left_total {self.left}",
                f"forward_passes_total {self.passes}",
                f"forward_pass_requests_total {self.passed}",
                f"tokens_in_total {self.tokens_in}",
                f"tokens_out_total {self.tokens_out}",
            ]
            for name, latencies in (("latency_ms", self.latency), ("time_to_first_token_ms", self.first_token)):
                if latencies.bins:
                    lines += [
                        f'{name}{{quantile="{percent / 100:g}"}} {latencies.percentile_ms(percent)}'
                        for percent in (50, 95, 99)
                    ]
                    lines.append(f"{name}_count {sum(latencies.bins.values())}")
        return "".join(f"inference_{line}\n" for line in lines)
