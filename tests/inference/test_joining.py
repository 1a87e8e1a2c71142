"""Texts that join while others grow: each is what it would be alone, whatever has to be enlarged for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from inference.engines import LEFT, Generated, Prompt, decoder
from inference.engines.encoder_decoder import NAME, EngineConfig
from inference.engines.generate import GenerateEngine
from inference.models.loading import load
from inference.records.requests import CancelToken, InferenceRequest
from inference.serving import HostFailed
from inference.serving.batcher import Batcher
from inference.serving.meter import Meter
from inference.tasks.tasks import Answer, Joining, TextToText
from tests.inference.samples import sentences
from tests.inference.test_engine_cuda import Recorded
from tests.inference.test_engine_exact import MODELS, own, prompts, sequences, t5

LIVE = EngineConfig(encoder_tokens=60, rows=6)


class Door:
    """Lets one group in each time the engine asks, and remembers for how many there was room."""

    def __init__(self, groups: Sequence[Sequence[Prompt]]) -> None:
        self._groups = list(groups)
        self.rooms: list[int] = []

    def __call__(self, room: int) -> Sequence[Prompt]:
        self.rooms.append(room)
        return self._groups.pop(0) if self._groups else ()


def joined(engine: Any, groups: Sequence[Sequence[Prompt]]) -> tuple[list[tuple[tuple[int, ...], ...]], Door]:
    door = Door(groups[1:])
    found: dict[int, Generated] = dict(engine.generate(groups[0], door))
    assert all(result.error is None for result in found.values())
    return [found[index].sequences for index in range(len(found))], door


def in_groups(asked: Sequence[Prompt]) -> list[list[Prompt]]:
    """The shortest first, so that inputs, answers and the table itself have to grow for who joins."""
    ordered = sorted(asked, key=lambda prompt: len(prompt.tokens))
    lengths = [2, 14, 3, 40, 1]
    ordered = [
        replace(prompt, settings=replace(prompt.settings, max_new_tokens=lengths[place % 5] + place))
        for place, prompt in enumerate(ordered)
    ]
    return [ordered[:1], ordered[1:2], [], ordered[2:5], ordered[5:]]


@pytest.mark.parametrize(
    "settings", [{}, {"num_beams": 3}, {"do_sample": True, "num_return_sequences": 2}, {"no_repeat_ngram_size": 2}], ids=str
)  # fmt: skip
@pytest.mark.parametrize("name", ["t5", "bart"])
@pytest.mark.parametrize("graphs", [Recorded, None])
def test_a_joined_request_gets_the_text_of_generate(
    name: str, settings: dict[str, Any], graphs: type[Recorded] | None
) -> None:
    model, groups = MODELS[name](), in_groups(prompts(longest=30, **settings))
    engine = own(model, LIVE, graphs)

    found, door = joined(engine, groups)

    assert found == sequences(GenerateEngine(model), [prompt for group in groups for prompt in group])
    assert engine.description.name == "encoder-decoder"
    slots = 6 // max(settings.get("num_beams", 1), settings.get("num_return_sequences", 1))
    assert door.rooms[0] == slots - 1
    assert all(0 < room <= slots for room in door.rooms)


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}], ids=str)
def test_recorded_steps_are_recorded_anew_for_a_table_that_has_grown(settings: dict[str, Any]) -> None:
    model, groups = t5(), in_groups(prompts(longest=30, **settings))

    found, _ = joined(own(model, LIVE, Recorded), groups)

    assert found == sequences(GenerateEngine(model), [prompt for group in groups for prompt in group])


def test_a_table_that_is_nearly_full_lets_several_in_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text that is encoded alone costs twice what it costs among others."""
    model = t5()
    model.generation_config.min_new_tokens = 8
    step, steps, asked_at = decoder.Decoder.step, [], []

    def counted(*arguments: Any) -> torch.Tensor:
        steps.append(arguments)
        return step(*arguments)

    monkeypatch.setattr(decoder.Decoder, "step", counted)
    door = Door([[prompt] for prompt in prompts(9)[5:]])

    def asked(room: int) -> Sequence[Prompt]:
        asked_at.append(len(steps))
        return door(room)

    found: dict[int, Generated] = dict(own(model, LIVE).generate(prompts(5), asked))

    assert [found[index].sequences for index in range(9)] == sequences(GenerateEngine(model), prompts(9))
    # Of six places five are taken, and nobody can be through before the eighth step.
    assert (asked_at[0], door.rooms[0]) == (3, 1)


def test_joining_requests_do_not_delay_one_with_another_search() -> None:
    """Beams come while greedy texts grow, and greedy ones go on coming: the table is emptied for the beams."""
    model = t5()
    greedy, beams = prompts(12), prompts(2, num_beams=3)
    engine = own(model, LIVE)
    ready: list[int] = []
    door = Door([beams, *[[prompt] for prompt in greedy[2:]]])

    found = {}
    for index, result in engine.generate(greedy[:2], door):
        ready.append(index)
        found[index] = result.sequences

    # Two greedy, then the two beams; who came later joined the beams' pass, and was next after it.
    assert set(ready[:4]) == {0, 1, 2, 3}
    assert [found[index] for index in range(14)] == sequences(GenerateEngine(model), [*greedy[:2], *beams, *greedy[2:]])


def test_requests_for_generate_may_arrive_late_too() -> None:
    model = t5()
    odd = prompts(2, do_sample=True, num_beams=2)
    engine = own(model, LIVE)

    found, _ = joined(engine, [prompts(3), odd])

    assert found == sequences(GenerateEngine(model), [*prompts(3), *odd])
    assert engine.description.name == "encoder-decoder+generate"


def test_running_out_of_memory_leaves_also_who_joined_to_generate(monkeypatch: pytest.MonkeyPatch) -> None:
    model = t5()
    engine = own(model, LIVE)
    step, steps = decoder.Decoder.step, []

    def fails(*arguments: Any) -> torch.Tensor:
        steps.append(arguments)
        if len(steps) == 4:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return step(*arguments)

    monkeypatch.setattr(decoder.Decoder, "step", fails)

    found, _ = joined(engine, [prompts(3), prompts(6)[3:]])

    assert found == sequences(GenerateEngine(model), prompts(6))


def test_one_who_joined_and_left_takes_no_more_steps() -> None:
    model, gone = t5(), CancelToken()
    stays, leaves = prompts(2, max_new_tokens=30)
    leaves = replace(leaves, clients=(gone,))
    gone.cancelled = True

    found = dict(own(model, LIVE).generate([stays], Door([[leaves]])))

    assert found[1].error == LEFT
    assert found[0].sequences == sequences(GenerateEngine(model), [stays])[0]


class Watched(TextToText):
    """Holds the flow before each time it asks who joins, until it is told to go on."""

    breaks = "no such text"

    def prepare(self) -> None:
        self.asks, self.goes = threading.Semaphore(0), threading.Semaphore(0)
        self.sizes: list[int] = []

    def flow(self, requests: Sequence[InferenceRequest], joining: Joining) -> Iterator[tuple[int, list[Answer]]]:
        def watched(room: int) -> Sequence[InferenceRequest]:
            self.asks.release()
            assert self.goes.acquire(timeout=60)
            found = joining(room)
            self.sizes.append(len(found))
            self._break(found)
            return found

        self._break(requests)
        return super().flow(requests, watched)

    def answer(self, requests: Sequence[InferenceRequest]) -> list[list[Answer]]:
        self._break(requests)
        return super().answer(requests)

    def _break(self, requests: Sequence[InferenceRequest]) -> None:
        if any(self.breaks in text for request in requests for text in request.texts):
            raise RuntimeError("the model breaks")

    def unwatched(self) -> None:
        self.goes.release(10_000)


@pytest.fixture
def task(t5_folder: Path) -> Watched:
    task = Watched(load(t5_folder))
    task.prepare()
    assert task.description.name == NAME
    return task


def clients(task: Watched, story: Callable[[Batcher, Meter], Any], **options: Any) -> Meter:
    """Runs `story` beside a batcher."""
    meter = Meter()
    batcher = Batcher(task, meter, **options)
    thread = threading.Thread(target=batcher.run, daemon=True)
    thread.start()
    try:
        asyncio.run(story(batcher, meter))
    finally:
        task.unwatched()
        batcher.stop()
        thread.join(60)
    assert not thread.is_alive()
    return meter


async def asks(task: Watched) -> None:
    assert await asyncio.to_thread(task.asks.acquire, timeout=60)


def test_a_short_text_neither_waits_for_a_long_one_nor_starts_a_pass_of_its_own(task: Watched) -> None:
    long, short = (
        task.parse({"inputs": text, "max_new_tokens": most}, None)
        for text, most in zip(sentences(2, longest=9), (40, 1), strict=True)
    )
    alone = [answer[0].fields for answer in task.answer([long, short])]

    async def story(batcher: Batcher, _: Meter) -> None:
        first = asyncio.ensure_future(batcher.answers([long]))
        await asks(task)
        second = asyncio.ensure_future(batcher.answers([short]))
        await asyncio.sleep(0)
        # Two steps: one for both, and one in which the short one's end is told.
        task.goes.release(2)
        [[answer]] = await second
        assert answer.fields == alone[1]
        assert not first.done()
        task.unwatched()
        assert (await first)[0][0].fields == alone[0]

    meter = clients(task, story)

    assert (meter.passes, meter.passed) == (1, 2)


def test_joined_requests_keep_to_the_budget_of_tokens(task: Watched) -> None:
    requests = [task.parse({"inputs": text, "max_new_tokens": 12}, None) for text in sentences(6, longest=9)]
    most = max(map(task.weigh, requests))

    async def story(batcher: Batcher, _: Meter) -> None:
        answers = [asyncio.ensure_future(batcher.answers([requests[0]]))]
        await asks(task)
        answers += [asyncio.ensure_future(batcher.answers([request])) for request in requests[1:]]
        await asyncio.sleep(0)
        task.unwatched()
        found = [answer[0][0].fields for answer in await asyncio.gather(*answers)]
        assert found == [answer[0].fields for answer in task.answer(requests)]

    clients(task, story, tokens=2 * most)

    assert task.sizes[0] in (1, 2)
    assert max(task.sizes) <= 2


def test_one_who_joins_and_breaks_the_model_fails_alone(task: Watched) -> None:
    good, bad = sentences(1, longest=9)[0], "the poison"
    task.breaks = "poison"
    requests = [task.parse({"inputs": text, "max_new_tokens": 12}, None) for text in (good, bad)]
    expected = task.answer(requests[:1])[0][0].fields

    async def story(batcher: Batcher, _: Meter) -> None:
        first = asyncio.ensure_future(batcher.answers([requests[0]]))
        await asks(task)
        second = asyncio.ensure_future(batcher.answers([requests[1]]))
        await asyncio.sleep(0)
        task.unwatched()
        found = await asyncio.gather(first, second, return_exceptions=True)
        assert isinstance(found[0], list)
        assert found[0][0][0].fields == expected
        assert isinstance(found[1], HostFailed)

    clients(task, story)
