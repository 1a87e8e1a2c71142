"""A device computes a step ahead of who reads what it said, and what goes to it and comes back keeps nobody waiting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from inference.engines import LEFT, Prompt, search, transfers
from inference.engines.decoder import Decoder
from inference.records.requests import CancelToken
from tests.inference.test_engine_cuda import Recorded
from tests.inference.test_engine_exact import MODELS, SMALL, own, prompts, sequences, t5

AHEAD = replace(SMALL, ahead=True)


@pytest.mark.parametrize("settings", [{}, {"do_sample": True, "num_return_sequences": 2}, {"num_beams": 2}], ids=str)
@pytest.mark.parametrize("name", ["t5", "bart"])
def test_a_step_ahead_generates_the_same_for_joining_prompts(name: str, settings: dict[str, Any]) -> None:
    """Also if a joining prompt's next token depends on its earlier ones, so that the last step has to be read first."""
    model, asked = MODELS[name](), prompts(**settings) + prompts(5, no_repeat_ngram_size=2, **settings) + prompts(6, 9)
    engine = own(model, AHEAD, Recorded)
    groups = [asked[2:9], [], asked[9:16], asked[16:]]
    found = dict(engine.generate(asked[:2], lambda room: groups.pop(0) if groups else ()))

    assert [found[index].sequences for index in range(len(asked))] == sequences(own(model), asked)


def test_a_step_ahead_is_under_way_when_the_last_one_is_read_and_none_beyond_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[str] = []
    step = Decoder.step

    def stepped(*arguments: Any) -> Tensor:
        done.append("step")
        return step(*arguments)

    def noted(tokens: Tensor) -> Callable[[], list[Any]]:
        def read() -> list[Any]:
            done.append("read")
            return tokens.tolist()

        return read

    monkeypatch.setattr(Decoder, "step", stepped)
    monkeypatch.setattr(search, "fetched", noted)
    model = t5()
    model.generation_config.min_new_tokens = 4

    sequences(own(model, AHEAD), prompts(5, max_new_tokens=4))
    ahead, done[:] = list(done), []
    sequences(own(model), prompts(5, max_new_tokens=4))

    assert ahead == ["step", "step", "read", "step", "read", "step", "read", "read"]
    assert done == ["step", "read"] * 4


def test_a_request_that_ends_a_step_ahead_is_answered_once() -> None:
    gone = CancelToken()
    asked = [replace(prompt, clients=(gone,)) if place == 1 else prompt for place, prompt in enumerate(prompts(4))]
    model = t5()
    model.generation_config.min_new_tokens = 10
    steps = 0

    def after_three(room: int) -> Sequence[Prompt]:
        nonlocal steps
        steps += 1
        if steps == 3:
            gone.cancelled = True
        return ()

    found = list(own(model, AHEAD).generate(asked, after_three))

    assert sorted(index for index, _ in found) == [0, 1, 2, 3]
    assert [result.error for _, result in sorted(found, key=lambda one: one[0])] == [None, LEFT, None, None]


class OnDevice:
    """As much of a device's tensor as is asked for here."""

    def __init__(self, said: list[str], numbers: Tensor) -> None:
        self.device, self._said, self._numbers = torch.device("cuda"), said, numbers

    def to(self, device: str, *, non_blocking: bool) -> Tensor:
        self._said.append(f"to {device}, {'later' if non_blocking else 'now'}")
        return self._numbers


def test_a_devices_numbers_set_out_at_once_and_are_waited_for_when_they_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    event = SimpleNamespace(synchronize=lambda: said.append("waited"))

    def stream(device: torch.device) -> Any:
        said.append(f"marked on {device}")
        return SimpleNamespace(record_event=lambda: event)

    monkeypatch.setattr(torch.cuda, "current_stream", stream)

    numbers: Any = OnDevice(said, torch.tensor([3, 4]))
    read = transfers.fetched(numbers)

    assert said == ["to cpu, later", "marked on cuda"]
    assert read() == [3, 4]
    assert said[2:] == ["waited"]


def test_a_device_fetches_from_memory_that_stays_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    numbers = torch.tensor([3, 4])
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: OnDevice(said, tensor))

    assert transfers.onto(torch.device("cuda"), numbers) is numbers
    assert said == ["to cuda, later"]
    assert transfers.onto(torch.device("cpu"), numbers) is numbers
