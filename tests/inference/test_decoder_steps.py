"""The step engine with several requests under way: broken ones, memory, budget, cancellation, newcomers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch

from inference.decoders.settings import Limits
from inference.decoders.steps import StepEngine
from inference.models.loading import Loaded, load
from tests.inference.step_engines import TEXTS, Watched, continuation, engine_of, run, said, watch


@pytest.fixture(scope="module")
def loaded(llama_folder: Path) -> Loaded:
    return load(llama_folder)


def test_a_text_that_breaks_the_model_ends_alone(loaded: Loaded) -> None:
    prompts = [continuation(loaded, text, 12) for text in ("the fox", "a lazy dog")]
    plain, _ = engine_of(loaded, loaded.model)
    wanted = [watch(plain, prompt)[0] for prompt in prompts]
    run(plain)
    spoken = {event.id for one in wanted for event in one.events}
    sign, broken = next(
        (sign, token) for sign in "~^%$#" if (token := loaded.tokenizer(sign)["input_ids"][-1]) not in spoken
    )
    prompts.append(continuation(loaded, f"sport {sign} music", 12))

    model = Watched(loaded.model, broken=broken)
    engine, _ = engine_of(loaded, model)
    found = [watch(engine, prompt)[0] for prompt in prompts]
    run(engine)

    assert [said(one) for one in found[:2]] == [said(one) for one in wanted]
    assert found[2].events[-1].error == "the model fails on it: ValueError"
    assert 2 in model.rows


def test_a_text_that_breaks_a_later_step_ends_alone(loaded: Loaded) -> None:
    prompts = [continuation(loaded, text, 12) for text in ("the fox", "a lazy dog")]
    plain, _ = engine_of(loaded, loaded.model)
    wanted = [watch(plain, prompt)[0] for prompt in prompts]
    run(plain)
    # A token that only the first text says, in the middle.
    others = {event.id for event in wanted[1].events} | {token for prompt in prompts for token in prompt.tokens}
    at, token = next(
        (place, event.id) for place, event in enumerate(wanted[0].events) if place > 1 and event.id not in others
    )

    engine, _ = engine_of(loaded, Watched(loaded.model, broken=token))
    found = [watch(engine, prompt)[0] for prompt in prompts]
    run(engine)

    assert said(found[1]) == said(wanted[1])
    assert said(found[0])[: at + 1] == said(wanted[0])[: at + 1]
    assert found[0].events[-1].finish == "error"


def test_with_little_memory_smaller_batches_answer_all(loaded: Loaded) -> None:
    prompts = [continuation(loaded, text, 10) for text in TEXTS]
    plain, _ = engine_of(loaded, loaded.model)
    wanted = [watch(plain, prompt)[0] for prompt in prompts]
    run(plain)

    model = Watched(loaded.model, short=3)
    engine, _ = engine_of(loaded, model)
    found = [watch(engine, prompt)[0] for prompt in prompts]
    run(engine)

    assert [one.events[-1].generated_text for one in found] == [one.events[-1].generated_text for one in wanted]
    assert max(model.rows[-8:]) <= 3


def test_all_under_way_keep_to_the_budget_of_tokens(loaded: Loaded) -> None:
    model = Watched(loaded.model)
    engine, _ = engine_of(loaded, model, batch=256)
    found = [watch(engine, continuation(loaded, "the fox", 60))[0] for _ in range(6)]
    run(engine)

    # Each may come to 64 tokens, so four of them are 256.
    assert max(model.rows) == 4
    assert all(one.done for one in found)


def test_newcomers_begin_within_the_budget_of_a_prefill(loaded: Loaded) -> None:
    model = Watched(loaded.model)
    prompt = continuation(loaded, "the fox", 4)
    engine = StepEngine(cast(Any, model), loaded.tokenizer, Limits(255, 256, 4_096, 2 * len(prompt.tokens)))
    found = [watch(engine, prompt)[0] for _ in range(5)]
    run(engine)

    assert model.rows[:3] == [2, 2, 1]
    assert all(one.done for one in found)


class Crowded(Watched):
    """A model without the memory for a prefill as long as `crowded`."""

    crowded = False

    def __call__(self, *, input_ids: torch.Tensor, **options: Any) -> Any:
        if self.crowded and input_ids.shape[1] > 1:
            self.rows.append(0)
            raise torch.OutOfMemoryError("out of memory")
        return super().__call__(input_ids=input_ids, **options)


def test_a_text_without_memory_beside_another_waits_for_its_end(loaded: Loaded) -> None:
    model = Crowded(loaded.model)
    engine, _ = engine_of(loaded, model)
    first, _ = watch(engine, continuation(loaded, TEXTS[0], 4))
    engine.step()
    model.crowded = True
    second, _ = watch(engine, continuation(loaded, TEXTS[1], 4))
    engine.step()
    model.crowded = False
    run(engine)

    # The first text, the second one's prefill in vain, the rest of the first one, and then the second one.
    assert model.rows == [1, 0, 1, 1, 1, 1, 1, 1, 1]
    assert [one.events[-1].finish for one in (first, second)] == ["length", "length"]
    assert [len(one.events) for one in (first, second)] == [4, 4]


def test_a_cancelled_request_makes_room_while_waiting_and_between_steps(loaded: Loaded) -> None:
    model = Watched(loaded.model)
    engine, _ = engine_of(loaded, model, batch=256)
    seen = [watch(engine, continuation(loaded, "the fox", 200)) for _ in range(3)]
    engine.step()
    engine.step()
    seen[1][1].cancel()
    seen[0][1].cancel()
    engine.step()

    assert len(seen[0][0].events) == 2
    assert seen[1][0].events == []
    assert len(seen[2][0].events) == 1
    seen[2][1].cancel()
    assert engine.step() is False


def test_a_newcomer_joins_those_under_way(loaded: Loaded) -> None:
    model = Watched(loaded.model)
    engine, _ = engine_of(loaded, model)
    first, _ = watch(engine, continuation(loaded, TEXTS[0], 20))
    for _ in range(5):
        engine.step()
    second, _ = watch(engine, continuation(loaded, TEXTS[1], 4))
    run(engine)

    assert model.rows[5:10] == [1, 2, 2, 2, 1]
    assert len(first.events) == 20
    assert [event.finish for event in second.events] == [None, None, None, "length"]


def test_newcomers_of_like_length_begin_together_on_a_cpu(loaded: Loaded) -> None:
    model = Watched(loaded.model)
    engine, _ = engine_of(loaded, model)
    texts = ["x" * 60, "x", "xx", "x" * 58]
    wanted = []
    for text in texts:
        alone, _ = engine_of(loaded, loaded.model)
        wanted.append(watch(alone, continuation(loaded, text, 3))[0])
        run(alone)
    found = [watch(engine, continuation(loaded, text, 3))[0] for text in texts]
    run(engine)

    assert [said(one) for one in found] == [said(one) for one in wanted]
    assert model.rows == [2, 2, 4, 4]
