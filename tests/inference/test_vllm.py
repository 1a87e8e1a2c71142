"""vLLM behind the same contract: with a stand-in at the boundary of its process, and for real where it is installed."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from inference.batch.opening import task_for
from inference.decoders.task import TextGeneration
from inference.decoders.vllm import VllmEngine
from inference.errors import ModelBroken, RecordInvalid
from inference.models.loading import load
from inference.tasks.pipeline import Pipeline
from tests.inference.llamas import byte_tokenizer
from tests.inference.real_time import answer_record
from tests.inference.servers import serving, until
from tests.inference.vllm_standin import ENDLESS

STANDIN = f"{sys.executable} {Path(__file__).with_name('vllm_standin.py')}"


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "notes"


def environment(notes: Path, **more: str) -> dict[str, str]:
    known = {"SM_NUM_GPUS": "4", "VLLM_COMMAND": STANDIN, "STANDIN_NOTES": str(notes), "MAX_TOTAL_TOKENS": "128"}
    return {**known, **more}


def noted(notes: Path, what: str) -> list[Any]:
    found = [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []
    return [one[what] for one in found if what in one]


@pytest.fixture
def pipeline(llama_folder: Path, notes: Path) -> Iterator[Pipeline]:
    variables = environment(notes)
    task = task_for(load(llama_folder, environment=variables), variables)
    yield Pipeline(task)
    assert isinstance(task, TextGeneration)
    task.engine.close()


def test_several_gpus_leave_a_decoder_to_vllm(pipeline: Pipeline, notes: Path, llama_folder: Path) -> None:
    [options] = noted(notes, "options")

    assert (options["model"], options["tensor_parallel_size"], options["max_model_len"]) == (
        str(llama_folder),
        "4",
        "128",
    )
    assert pipeline.task.description.name == "vllm"


def test_a_package_may_ask_for_it_on_one(llama_folder: Path, notes: Path) -> None:
    variables = environment(notes, SM_NUM_GPUS="1", INFERENCE_ENGINE="vllm")
    task = task_for(load(llama_folder, environment=variables), variables)
    assert isinstance(task, TextGeneration)
    task.engine.close()

    assert noted(notes, "options")[0]["tensor_parallel_size"] == "1"


def test_answers_have_the_same_form(pipeline: Pipeline) -> None:
    answers, run = answer_record(
        pipeline, {"inputs": ["fox", "a dog"], "parameters": {"max_new_tokens": 7, "details": True}}
    )

    # "<s>fox" said over again, without its special token.
    assert answers[0]["generated_text"] == "foxfoxfox"
    assert answers[0]["details"]["finish_reason"] == "length"
    assert [token["special"] for token in answers[0]["details"]["tokens"]] == [True, False] * 3 + [True]
    assert answers[0]["details"]["tokens"][1]["logprob"] == -0.5
    assert run.counts.tokens_out == 14


def test_parameters_arrive_by_its_names(pipeline: Pipeline, notes: Path) -> None:
    sampled = {
        "do_sample": True,
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 5,
        "repetition_penalty": 1.2,
        "stop": ["zz"],
    }

    answer_record(pipeline, {"inputs": "fox", "parameters": {"max_new_tokens": 4, **sampled}})
    answer_record(pipeline, {"inputs": "fox", "parameters": {"max_new_tokens": 4}})

    first, second = noted(notes, "asked")
    assert {name: first[name] for name in sampled if name != "do_sample"} == {
        name: value for name, value in sampled.items() if name != "do_sample"
    }
    assert (first["max_tokens"], first["stream"], first["return_token_ids"]) == (4, True, True)
    assert (second["temperature"], second["top_p"], "top_k" in second) == (0, 1, False)


def test_a_stop_ends_the_text(pipeline: Pipeline) -> None:
    [answer], _ = answer_record(
        pipeline, {"inputs": "fox", "parameters": {"max_new_tokens": 40, "stop": ["xf"], "details": True}}
    )

    assert answer["generated_text"] == "foxf"
    assert answer["details"]["finish_reason"] == "stop_sequence"


def test_a_refused_request_fails_alone(pipeline: Pipeline) -> None:
    with pytest.raises(RecordInvalid, match="vLLM refused it with 400"):
        answer_record(pipeline, {"inputs": "fox", "parameters": {"max_new_tokens": 13}})

    assert answer_record(pipeline, {"inputs": "fox", "parameters": {"max_new_tokens": 2}})[0]


def test_streams_and_departures_go_through(pipeline: Pipeline, notes: Path) -> None:
    task = pipeline.task
    assert isinstance(task, TextGeneration)
    with serving(pipeline) as (address, _, meter):
        asked = {"inputs": "fox", "parameters": {"max_new_tokens": 6}, "stream": True}
        events = httpx.post(f"{address}/invocations", json=asked, timeout=60).text.strip().split("\n\n")
        endless = {**asked, "inputs": byte_tokenizer().decode([ENDLESS])}
        with httpx.stream("POST", f"{address}/invocations", json=endless, timeout=60) as answer:
            next(answer.iter_raw())
        until(lambda: meter.left == 1)
        until(lambda: noted(notes, "left"))

    assert [json.loads(event[5:])["index"] for event in events] == [1, 2, 3, 4, 5, 6]
    assert json.loads(events[-1][5:])["generated_text"] == "foxfoxfox"


def test_a_server_that_dies_is_no_longer_healthy(pipeline: Pipeline, notes: Path) -> None:
    with serving(pipeline) as (address, _, _):
        assert httpx.get(f"{address}/ping", timeout=60).status_code == 200
        os.kill(noted(notes, "pid")[0], 9)
        until(lambda: httpx.get(f"{address}/ping", timeout=60).status_code == 503)


def test_one_that_does_not_start_is_told_with_its_last_words(llama_folder: Path, notes: Path) -> None:
    variables = environment(notes, STANDIN_FAILS="1")
    loaded = load(llama_folder, environment=variables)

    with pytest.raises(ModelBroken, match=r"vLLM ended with code 1\. It said last: CUDA out of memory"):
        task_for(loaded, variables)
    with pytest.raises(ModelBroken, match="vLLM does not start"):
        task_for(loaded, {**variables, "VLLM_COMMAND": "/no/such/program"})


@pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None or not torch.cuda.is_available(), reason="vLLM or its GPU is not here"
)
def test_the_real_one_answers_with_as_many_tokens_as_were_asked_for(llama_folder: Path) -> None:
    variables = {"INFERENCE_ENGINE": "vllm", "MAX_TOTAL_TOKENS": "128"}
    task = task_for(load(llama_folder, environment=variables), variables)
    assert isinstance(task, TextGeneration)
    assert isinstance(task.engine, VllmEngine)
    record = {"inputs": "the fox", "parameters": {"max_new_tokens": 8, "details": True}}
    try:
        [answer], _ = answer_record(Pipeline(task), record)
    finally:
        task.engine.close()

    assert answer["details"]["generated_tokens"] == 8
    assert len(answer["generated_text"]) > 0
