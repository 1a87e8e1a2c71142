"""Dynamic batching of requests from many clients, by a token budget and a maximum delay.

Each client has its own queue, and a batch takes from all queues in turn, so that a body of ten thousand lines doesn't
delay a request for a single text. If the task allows continuous batching, requests join a running batch and each is
answered when it is ready, so that a short text doesn't wait for a long one. The requests of a failed batch are retried
one by one.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from inference.decoders import TokenEvent
from inference.records.requests import InferenceRequest
from inference.serving import HostFailed
from inference.serving.meter import Meter
from inference.tasks.tasks import Answer, Flowing, Task

Outcome = list[Answer] | HostFailed
# Approximate input and output tokens that go to the engine at once; the engine forms its own batches of them.
CPU_TOKENS, CUDA_TOKENS = 16_384, 262_144

log = logging.getLogger("inference")


@dataclass(slots=True, eq=False)
class _Line:
    """The queue of one client's requests."""

    requests: Sequence[InferenceRequest]
    weights: Sequence[int]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[list[list[Answer]]]
    came: float = field(default_factory=time.monotonic)
    taken: int = 0
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    cancelled: bool = False

    @property
    def waiting(self) -> int:
        return 0 if self.cancelled else len(self.requests) - self.taken


# A request, by its client's queue and its index there.
Place = tuple[_Line, int]


class Batcher:
    """Answers complete requests in batches."""

    def __init__(
        self, task: Task, meter: Meter, *, delay_ms: float = 5, tokens: int | None = None, whole: bool = False
    ) -> None:
        """Make a batcher; `run` does the work, on its own thread.

        Args:
            task: The task that answers.
            meter: Counters for /metrics.
            delay_ms: Longest wait for more requests before a batch begins.
            tokens: Budget of tokens for one batch; None for the device's default.
            whole: Answer each batch completely before the next, even if the engine supports continuous batching.
        """
        self._task, self._meter, self._delay, self._whole = task, meter, delay_ms / 1_000, whole
        self._flowing = task if isinstance(task, Flowing) and task.joins and not whole else None
        on_cuda = task.description.device.startswith("cuda")
        self._tokens = tokens or (CUDA_TOKENS if on_cuda else CPU_TOKENS)
        self._lines: deque[_Line] = deque()
        self._changed = threading.Condition()
        self._stopped = False
        # The number of requests in the last batch, as an estimate of the next one.
        self._company = 1

    @property
    def alive(self) -> bool:
        """True until the batcher is stopped."""
        return not self._stopped

    async def answers(self, requests: Sequence[InferenceRequest]) -> list[list[Answer]]:
        """Answer requests; if the client disconnects, generation stops at the engine's next step."""
        if not requests:
            return []
        loop = asyncio.get_running_loop()
        line = _Line(requests, [self._task.weigh(request) for request in requests], loop, loop.create_future())
        with self._changed:
            if self._stopped:
                raise HostFailed("the server is being stopped.")
            self._lines.append(line)
            self._changed.notify()
        try:
            return await line.future
        except asyncio.CancelledError:
            line.cancelled = True
            for request in requests:
                request.cancel_token.cancelled = True
            raise

    def stream(self, request: InferenceRequest) -> AsyncIterator[TokenEvent]:
        """Refuse the request, because these models don't stream."""
        raise HostFailed("this model does not stream.")

    def run(self) -> None:
        """Form batches and answer them until stopped."""
        while places := self._take():
            self._meter.passing(len(places))
            self._company = len(places)
            if self._flowing is not None:
                self._flow(self._flowing, places)
            else:
                self._deliver(places, self._outcomes([line.requests[index] for line, index in places]))

    def _flow(self, task: Flowing, places: Sequence[Place]) -> None:
        """Answer by continuous batching, until no request is left or joins."""
        inside = dict(enumerate(places))
        count = len(places)

        def joining(room: int) -> list[InferenceRequest]:
            nonlocal count
            with self._changed:
                self._lines = deque(line for line in self._lines if line.waiting)
                if self._stopped or not self._lines:
                    return []
                used = sum(line.weights[index] for line, index in inside.values())
                joined = self._taken(room, used)
            for place in joined:
                inside[count] = place
                count += 1
            self._meter.passing(len(joined), joined=True)
            return [line.requests[index] for line, index in joined]

        try:
            for number, answers in task.flow([line.requests[index] for line, index in places], joining):
                self._deliver([inside.pop(number)], [answers])
        except Exception:  # one request that breaks the model must not end the others
            log.exception("a pass failed; each of the %d requests in it is tried alone", len(inside))
        for place in inside.values():
            line, index = place
            self._deliver([place], [self._alone(line.requests[index])])

    def stop(self) -> None:
        """End the loop and fail all waiting requests."""
        with self._changed:
            self._stopped = True
            lines, self._lines = self._lines, deque()
            self._changed.notify_all()
        self._end(lines)

    def _take(self) -> list[Place]:
        """Return the requests of the next batch; empty once stopped. Waits at most `delay_ms` for more requests."""
        with self._changed:
            while True:
                self._lines = deque(line for line in self._lines if line.waiting)
                if self._stopped:
                    return []
                if not self._lines:
                    self._changed.wait()
                    continue
                left = self._lines[0].came + self._delay - time.monotonic()
                # With continuous batching there is no need to wait for more requests.
                if left <= 0 or self._flowing is not None or self._enough():
                    return self._taken()
                self._changed.wait(left)

    def _enough(self) -> bool:
        waiting = sum(line.waiting for line in self._lines)
        if waiting >= self._company:
            return True
        return sum(sum(line.weights[line.taken :]) for line in self._lines) >= self._tokens

    def _taken(self, most: int | None = None, used: int = 0) -> list[Place]:
        """Take a request of each queue in turn within the token budget; always one if nothing is in progress."""
        if self._whole:
            line = self._lines.popleft()
            first, line.taken = line.taken, len(line.requests)
            return [(line, index) for index in range(first, len(line.requests))]
        found: list[Place] = []
        tokens = used
        while self._lines and (most is None or len(found) < most):
            line = self._lines.popleft()
            weight = line.weights[line.taken]
            if tokens and tokens + weight > self._tokens:
                # This request is the first of the next batch.
                self._lines.appendleft(line)
                break
            found.append((line, line.taken))
            tokens += weight
            line.taken += 1
            if line.waiting:
                self._lines.append(line)
        return found

    def _outcomes(self, requests: Sequence[InferenceRequest]) -> Sequence[Outcome]:
        if len(requests) == 1:
            return [self._alone(requests[0])]
        try:
            return self._task.answer(requests)
        except Exception:  # a request that breaks the model must not end the others
            log.exception("a pass failed; each of the %d requests in it is tried alone", len(requests))
        # Outside the except block, because the traceback keeps the failed pass's tensors in memory.
        return [self._alone(request) for request in requests]

    def _alone(self, request: InferenceRequest) -> Outcome:
        try:
            return self._task.answer([request])[0]
        except Exception as error:  # it is told to its client
            log.exception("the model fails on a request")
            return HostFailed(f"the model fails on this request: {type(error).__name__}.")

    def _deliver(self, places: Sequence[Place], outcomes: Sequence[Outcome]) -> None:
        ended: dict[asyncio.AbstractEventLoop, list[_Line]] = {}
        for (line, index), outcome in zip(places, outcomes, strict=True):
            line.outcomes[index] = outcome
            if len(line.outcomes) == len(line.requests):
                ended.setdefault(line.loop, []).append(line)
        for loop, lines in ended.items():
            # Wake the event loop once for all requests of the batch.
            _call(loop, lines)

    def _end(self, lines: Sequence[_Line]) -> None:
        for line in lines:
            stopped = HostFailed("the server is being stopped.")
            for index in range(len(line.requests)):
                line.outcomes.setdefault(index, stopped)
            _call(line.loop, [line])


def _call(loop: asyncio.AbstractEventLoop, lines: Sequence[_Line]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(_settle, lines)


def _settle(lines: Sequence[_Line]) -> None:
    """Deliver each queue's outcome to its client, on the event loop."""
    for line in lines:
        if line.future.done():
            continue
        found: list[list[Answer]] = []
        for index in range(len(line.requests)):
            outcome = line.outcomes[index]
            if isinstance(outcome, HostFailed):
                if len(line.requests) == 1:
                    line.future.set_exception(outcome)
                    break
                # One of several lines failed: that line gets its error, the others their answers.
                outcome = [Answer({}, error=str(outcome))]
            found.append(outcome)
        else:
            line.future.set_result(found)
