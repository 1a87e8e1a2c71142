"""Cross-attention that reads each input once: where it is taken, and that it finds what two products find."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from inference.engines import cuda, encoder_decoder
from inference.engines.encoder import Encoder
from inference.engines.encoder_decoder import EncoderDecoderEngine, Levers
from inference.engines.families import read_weights
from inference.engines.sources import Attend, by_products
from tests.inference.test_engine_cuda import Recorded
from tests.inference.test_engine_exact import bart, own, prompts, sequences, t5


@pytest.mark.parametrize("width", [512, 768, 1_024])
def test_the_kernel_finds_what_two_products_find(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU; or where Triton is installed, and told by TRITON_INTERPRET=1 to compute what it would compile."""
    pytest.importorskip("triton")
    from inference.engines import one_read

    if not torch.cuda.is_available():
        if os.environ.get("TRITON_INTERPRET") != "1":
            pytest.skip("there is no GPU")
        monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    monkeypatch.setattr(one_read, "_FEWEST_SLOTS", 3)
    for rows, sources in ((1, 5), (12, 64), (16, 131), (17, 20)):
        chance = torch.Generator().manual_seed(rows)
        # Tables that are longer than what is looked at.
        outputs = torch.randn(4, sources + 8, width, generator=chance).half()[:3, :sources]
        hidden = torch.zeros(4, 1, sources + 8).half()[:3, :, :sources]
        hidden[1, :, sources // 2 :] = hidden[2, :, 1:] = float("-inf")
        # One head's queries of all slots beside each other, as a product leaves them.
        queries = torch.randn(rows, 3, width, generator=chance).half().transpose(0, 1)
        expected = by_products(queries.float(), outputs.float(), hidden.float(), width**-0.5)

        for way in one_read.ways(width, torch.float16):
            found = way(queries.to(device), outputs.to(device), hidden.to(device), width**-0.5).float().cpu()
            torch.testing.assert_close(found, expected, rtol=0.01, atol=0.01)
    assert one_read.ways(width, torch.float32) == one_read.ways(256, torch.float16) == []


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, Attend], Attend]:
    """Makes ways that take so many seconds by the clock there is here."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def taking(seconds: float, way: Attend) -> Attend:
        def timed(queries: Tensor, outputs: Tensor, hidden: Tensor, scale: float) -> Tensor:
            now[0] += seconds
            return way(queries, outputs, hidden, scale)

        return timed

    monkeypatch.setattr("inference.engines.cuda.by_products", taking(2.0, by_products))
    return taking


def offered(monkeypatch: pytest.MonkeyPatch, *ways: Attend) -> Attend:
    """What is chosen where the kernel is there in these ways."""
    module = SimpleNamespace(ways=lambda width, dtype: list(ways))
    monkeypatch.setitem(sys.modules, "inference.engines.one_read", module)
    return cuda.fastest_attention(read_weights(t5(), dtype=torch.bfloat16), slots=4, sources=9)


def test_the_fastest_way_is_taken(clock: Callable[[float, Attend], Attend], monkeypatch: pytest.MonkeyPatch) -> None:
    fast, faster, slow = (clock(seconds, by_products) for seconds in (1.0, 0.5, 3.0))

    assert offered(monkeypatch, fast, faster, slow) is faster
    assert offered(monkeypatch, slow) is not slow


def test_a_way_that_finds_something_else_or_fails_is_not_taken(
    clock: Callable[[float, Attend], Attend], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unseeing(queries: Tensor, outputs: Tensor, hidden: Tensor, scale: float) -> Tensor:
        return by_products(queries, outputs, torch.zeros_like(hidden), scale)

    def nothing(queries: Tensor, *_: Any) -> Tensor:
        return torch.full_like(queries, float("nan"))

    def too_large(*_: Any) -> Tensor:
        raise RuntimeError("out of resource: shared memory")

    for way in (unseeing, nothing, too_large):
        taken = clock(0.1, way)
        assert offered(monkeypatch, taken) is not taken
    assert caplog.text.count("finds something else here") == 2
    assert "does not work here: out of resource" in caplog.text


def test_without_the_kernel_two_products_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "inference.engines.one_read", None)

    assert cuda.fastest_attention(read_weights(t5())) is by_products


def test_without_memory_for_a_trial_two_products_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> Tensor:
        raise torch.OutOfMemoryError

    weights = read_weights(t5())
    monkeypatch.setitem(sys.modules, "inference.engines.one_read", SimpleNamespace(ways=None))
    monkeypatch.setattr(torch, "randn", full)

    assert cuda.fastest_attention(weights) is by_products


@pytest.mark.parametrize("make", [t5, bart])
@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}], ids=str)
def test_on_a_gpu_the_lever_changes_speed_only(
    make: Callable[[], Any], settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, asked, calls = make(), prompts(**settings), list[int]()
    expected, rules = sequences(own(model), asked), own(model).rules

    def counted(queries: Tensor, outputs: Tensor, hidden: Tensor, scale: float) -> Tensor:
        calls.append(queries.shape[0])
        return by_products(queries, outputs, hidden, scale)

    monkeypatch.setattr(encoder_decoder, "fastest_attention", lambda weights: counted)
    monkeypatch.setattr(encoder_decoder, "cuda_encoder", Encoder)
    monkeypatch.setattr(encoder_decoder, "Graphs", Recorded)
    monkeypatch.setattr(encoder_decoder, "free_bytes", lambda device: 2 * 10**9)
    monkeypatch.setattr(type(model), "device", torch.device("cuda"))

    found = []
    for one_read in (True, False):
        levers = Levers(encoder_tokens=60, rows=8, one_read=one_read, ahead=True)
        engine = EncoderDecoderEngine(model, rules, levers=levers)
        found.append((sequences(engine, asked) == expected, len(calls) > 0))
        calls.clear()

    assert found == [(True, True), (True, False)]
    assert Levers.of(torch.device("cuda")).one_read
