"""The GPU's code paths, as far as a CPU can run them: the same results, and each line executed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from inference.engines.cuda import (
    CudaRecorder,
    Graphs,
    Recorder,
    Recording,
)
from inference.engines.decoder import Decoder
from inference.engines.encoder_decoder import text_engine
from inference.engines.generate import GenerateEngine
from inference.engines.search import most_new_tokens
from inference.engines.weight_reading import read_weights
from inference.engines.weights import Linear
from tests.inference.test_engine_exact import MODELS, SMALL, bart, own, prompts, sequences, t5


class Rerun:
    """Stands in for a CUDA graph: runs the step again."""

    def __init__(self, step: Callable[[], object]) -> None:
        self._step = step

    def replay(self) -> None:
        self._step()


class Recorded(Graphs):
    """Graphs without a GPU."""

    def __init__(self, decoder: Decoder, recorder: Callable[[], Recorder] = lambda: Rerun) -> None:
        super().__init__(decoder, recorder)
        self.decoder = decoder


class Made(list[Recorded]):
    """Makes an engine's graphs, and remembers them."""

    def __call__(self, decoder: Decoder) -> Recorded:
        self.append(Recorded(decoder))
        return self[-1]


@pytest.fixture
def made() -> Made:
    return Made()


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}, {"do_sample": True, "num_return_sequences": 2}], ids=str)
@pytest.mark.parametrize("name", ["t5", "bart"])
def test_recorded_steps_generate_the_same(name: str, settings: dict[str, Any], made: Made) -> None:
    model, asked = MODELS[name](), prompts(**settings)

    assert sequences(own(model, graphs=made), asked) == sequences(own(model), asked)
    assert [bool(one.recorded) for one in made] == [True]


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}], ids=str)
def test_a_recorded_graph_is_used_for_the_next_texts(settings: dict[str, Any], made: Made) -> None:
    model = t5()
    few, many = prompts(3, 20, **settings), prompts(**{**settings, "max_new_tokens": 20})
    engine = own(model, graphs=made)
    expected = [sequences(own(model), asked) for asked in (few, many)]

    assert [sequences(engine, asked) for asked in (few, many, few, many)] == [*expected, *expected]
    assert len(made) == 1


def test_another_width_has_a_table_of_its_own(made: Made) -> None:
    model = t5()
    engine, asked = own(model, graphs=made), [*prompts(num_beams=2), *prompts()]

    assert sequences(engine, asked) == sequences(own(model), asked)
    assert [one.decoder.width for one in made] == [2, 1]


def test_a_table_is_not_used_again_after_memory_ran_out(made: Made) -> None:
    model = t5()
    asked, full = prompts(), [torch.OutOfMemoryError()]

    class Full(Recorded):
        def __call__(self, count: int, keys: int, sources: int) -> Tensor:
            if full:
                raise full.pop()
            return super().__call__(count, keys, sources)

    def graphs(decoder: Decoder) -> Graphs:
        made.append(Full(decoder))
        return made[-1]

    engine = own(model, graphs=graphs)

    assert [sequences(engine, asked) for _ in range(3)] == [sequences(own(model), asked)] * 3
    assert len(made) == 2, "the second is made anew, and kept for the third"


def test_an_unused_slot_stands_at_the_beginning() -> None:
    """The position after its last text may not exist, and a GPU would stop at it."""
    graphs = graphs_of(16)
    graphs.decoder.positions[:] = 40

    graphs(3, 32, 20)

    assert graphs.decoder.positions.tolist() == [40] * 3 + [0] * 5 + [40] * 8


def graphs_of(slots: int) -> Recorded:
    weights = read_weights(t5())
    decoder = Decoder(weights, slots, 1, longest_source=20, reach=40)
    decoder.admit(0, torch.zeros(20, weights.width))
    return Recorded(decoder)


def test_few_sizes_are_recorded_and_leave_their_scores_in_one_place() -> None:
    graphs, counts = graphs_of(32), (9, 10, 16, 16, 11, 3, 4, 7, 8, 1)

    found = [graphs(count, 32, 20) for count in counts]

    assert [tuple(scores.shape) for scores in found] == [(count, 1, 64) for count in counts]
    assert graphs.recorded == [(16, 32, 20), (8, 32, 20)]
    assert found[4].data_ptr() == found[9].data_ptr()


def test_a_size_that_is_met_now_and_then_is_not_recorded() -> None:
    graphs = graphs_of(16)

    for _ in range(4):
        graphs(16, 32, 20)

    assert graphs.recorded == []


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the calls to a device's streams and graphs, which do not exist here."""
    found: list[str] = []
    main = SimpleNamespace(wait_stream=lambda other: found.append("main waits"))
    side = SimpleNamespace(wait_stream=lambda other: found.append("side waits"))
    names = {id(main): "main", id(side): "side"}

    @contextmanager
    def inside(name: str) -> Iterator[None]:
        found.append(f"{name} begins")
        yield
        found.append(f"{name} ends")

    graphs = {
        "graph_pool_handle": lambda: "pool",
        "Stream": lambda device: side,
        "current_stream": lambda device: main,
        "set_stream": lambda stream: found.append(f"{names[id(stream)]} again"),
        "stream": lambda stream: inside(names[id(stream)]),
        "CUDAGraph": lambda: SimpleNamespace(replay=lambda: None),
        "graph": lambda graph, pool, stream, capture_error_mode: inside(
            f"graph on {names[id(stream)]} in {pool}, {capture_error_mode},"
        ),
    }
    for name, value in graphs.items():
        monkeypatch.setattr(torch.cuda, name, value)
    return found


def test_a_recording_is_run_once_before_and_shares_its_memory_with_others(said: list[str]) -> None:
    CudaRecorder(torch.device("cuda", 1))(lambda: said.append("step")).replay()

    graph = "graph on side in pool, thread_local,"
    assert said == [
        "side waits", "side begins", "step", "side ends", f"{graph} begins", "step", f"{graph} ends", "main again",
        "main waits",
    ]  # fmt: skip


def test_work_continues_after_a_failed_recording(said: list[str]) -> None:
    def fails() -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    with pytest.raises(RuntimeError, match="not permitted"):
        CudaRecorder(torch.device("cuda"))(fails)

    assert said[-2:] == ["main again", "main waits"]


@pytest.mark.usefixtures("said")
def test_a_step_that_cannot_be_recorded_is_run(caplog: pytest.LogCaptureFixture) -> None:
    tried: list[object] = []

    def fails(step: Callable[[], object]) -> Recording:
        tried.append(step)
        raise torch.OutOfMemoryError("CUDA out of memory.")

    expected = graphs_of(16).decoder.step(16, 32, 20)
    unrecorded = Graphs(graphs_of(16).decoder, lambda: fails)

    found = [unrecorded(16, keys, 20) for keys in (32, 32, 32, 32, 32, 32, 40, 40, 40, 40, 40)]

    assert len(tried) == 1
    assert unrecorded.recorded == []
    for scores in found[:6]:
        torch.testing.assert_close(scores, expected)
    assert "one cannot be recorded: CUDA out of memory." in caplog.text


def test_without_another_recorder_steps_are_recorded_where_the_decoder_is(said: list[str]) -> None:
    graphs = Graphs(graphs_of(8).decoder)

    for _ in range(5):
        graphs(8, 32, 20)

    assert "graph on side in pool, thread_local, begins" in said
    assert graphs.recorded == [(8, 32, 20)]


def test_a_text_that_is_over_stands_where_there_are_positions() -> None:
    """One step may be computed for it yet, and a GPU would stop beyond the last position."""
    weights = read_weights(bart(max_position_embeddings=37))
    decoder = Decoder(weights, 8, 1, longest_source=20, reach=40)
    decoder.admit(0, torch.zeros(20, weights.width))
    decoder.positions[:] = 37

    assert bool(decoder.step(8, 40, 20).isfinite().all())


def test_a_model_that_is_dealt_out_to_several_devices_is_left_to_generate() -> None:
    model = t5()
    model.encoder.block[1].to("meta")

    assert isinstance(text_engine(model), GenerateEngine)


class OneDevice(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes tensors that are anywhere else: a graph may neither make one nor read one."""

    def __init__(self, device: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._device, self.elsewhere = device, list[str]()

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = operation(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
        self.elsewhere += [str(operation) for tensor in tensors if tensor.device.type != self._device]
        return result


def moved(part: Any, device: str) -> Any:
    """Weights on another device."""
    if isinstance(part, Tensor):
        return part.to(device)
    if isinstance(part, Linear):
        return Linear(moved(part.weight, device), moved(part.bias, device), fused=False)
    if isinstance(part, tuple):
        return tuple(moved(one, device) for one in part)
    if is_dataclass(part) and not isinstance(part, type):
        return replace(part, **{field.name: moved(getattr(part, field.name), device) for field in fields(part)})
    return part


@pytest.mark.parametrize("absorbed", [True, False])
@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("make", [t5, bart])
def test_a_step_can_be_recorded(make: Callable[[], Any], width: int, absorbed: bool) -> None:
    """On a device without numbers: whoever asked for one, as a graph may not, would be refused."""
    weights = moved(read_weights(make(), fused=False), "meta")
    decoder = Decoder(weights, 16, width, longest_source=24, reach=32, absorbed=absorbed)

    with OneDevice("meta") as seen:
        scores = decoder.step(8, 16, 24)

    assert tuple(scores.shape) == (8, width, 64)
    assert seen.elsewhere == []


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}], ids=str)
def test_a_table_takes_no_more_than_the_room_that_there_is(settings: dict[str, Any], made: Made) -> None:
    model, asked = MODELS["t5"](), prompts(**settings)
    width: int = settings.get("num_beams", 1)
    slot = Decoder.bytes_a_slot(
        read_weights(model), width, longest_source=max(len(one.tokens) for one in asked),
        reach=max(most_new_tokens(one.settings) for one in asked), absorbed=True,
    )  # fmt: skip
    engine = own(model, replace(SMALL, table_bytes=slot + slot // 2), graphs=made)

    assert sequences(engine, asked) == sequences(GenerateEngine(model), asked)
    assert [graphs.decoder.slots for graphs in made] == [1]


class Allocated(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of new tensors."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes: int = 0

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = operation(*args, **(kwargs or {}))
        self.bytes += sum(leaf.nbytes for leaf in tree_leaves(result) if isinstance(leaf, Tensor))
        return result


@pytest.mark.parametrize("absorbed", [True, False])
def test_the_bytes_of_a_slot_are_counted_as_they_are_allocated(absorbed: bool) -> None:
    weights = read_weights(t5())

    def allocated(reach: int) -> int:
        with Allocated() as counted:
            Decoder(weights, 5, 1, longest_source=7, reach=reach, absorbed=absorbed)
        return int(counted.bytes)

    with_past, without = (
        Decoder.bytes_a_slot(weights, 1, longest_source=7, reach=reach, absorbed=absorbed) for reach in (4, 0)
    )
    assert allocated(4) - allocated(0) == 5 * (with_past - without) > 0
