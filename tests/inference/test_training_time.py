"""Training for some seconds: a busy machine trains as much as an idle one."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from examples.training import LONGEST, fit


def test_time_in_which_others_compute_does_not_count_as_training(monkeypatch: pytest.MonkeyPatch) -> None:
    # Half a second passes with each look at the clock, and none of it is this process's own.
    clock = itertools.count(0.0, 0.5)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(time, "process_time", lambda: 0.0)
    assert steps(seconds=1.0) == 2 * LONGEST


def test_computing_counts_by_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    computed = itertools.count(0.0, 0.25 * torch.get_num_threads())
    monkeypatch.setattr(time, "process_time", lambda: next(computed))
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    assert steps(seconds=1.0) == 4


def steps(seconds: float) -> int:
    """Train a model of one weight; return the steps made."""
    torch.manual_seed(0)
    model = torch.nn.Linear(1, 1)

    def losses() -> Iterator[Callable[[], Tensor]]:
        while True:
            yield lambda: model(torch.ones(1, 1)).square().mean()

    return fit(model, losses(), seconds=seconds, steps=None, rate=1e-3, name="training", quiet=True)
