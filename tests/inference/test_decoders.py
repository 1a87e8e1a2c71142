"""Decoders: the step engine against transformers' own generate, and what a request may and may not ask."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForSeq2SeqLM

from inference.__main__ import main
from inference.batch.opening import task_for
from inference.decoders import RequestHandle, TokenEvent
from inference.decoders.task import TextGeneration
from inference.decoders.words import Words
from inference.errors import HyperParametersInvalid, ModelBroken, RecordInvalid, TooLong
from inference.models import memory
from inference.models.configuration import TEXT_GENERATION
from inference.models.loading import Loaded, load
from inference.tasks.pipeline import Pipeline
from promotion.errors import Invalid
from tests.inference.llamas import byte_tokenizer
from tests.inference.real_time import answer_record
from tests.inference.step_engines import TEXTS

SYSTEM = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "fox?"}]


@pytest.fixture
def loaded(llama_folder: Path) -> Loaded:
    """For one test: opening a decoder packs its weights in place."""
    return load(llama_folder)


@pytest.fixture(scope="module")
def decoder(llama_folder: Path) -> Pipeline:
    return Pipeline(task_for(load(llama_folder)))


def generated(pipeline: Pipeline, inputs: Any, **parameters: Any) -> list[str]:
    answers, _ = answer_record(pipeline, {"inputs": inputs, "parameters": parameters})
    return [answer["generated_text"] for answer in answers]


def test_config_json_tells_that_it_is_a_decoder(loaded: Loaded) -> None:
    assert loaded.task == TEXT_GENERATION


@pytest.mark.parametrize("penalty", [1.0, 1.7])
def test_greedy_texts_are_those_of_generate_whatever_shares_their_steps(
    decoder: Pipeline, loaded: Loaded, penalty: float
) -> None:
    wanted = []
    for text in TEXTS:
        tokens = loaded.tokenizer(text, return_tensors="pt")
        made = loaded.model.generate(**tokens, max_new_tokens=24, do_sample=False, repetition_penalty=penalty)
        wanted.append(loaded.tokenizer.decode(made[0][tokens.input_ids.shape[1] :], skip_special_tokens=True))

    found = generated(decoder, TEXTS, max_new_tokens=24, repetition_penalty=penalty)

    assert found == wanted
    assert [generated(decoder, text, max_new_tokens=24, repetition_penalty=penalty)[0] for text in TEXTS] == wanted


def test_sampled_texts_are_the_same_alone_and_among_others(decoder: Pipeline) -> None:
    settings = {"max_new_tokens": 20, "do_sample": True, "temperature": 1.3, "top_k": 40, "top_p": 0.9, "seed": 11}

    together = generated(decoder, TEXTS, **settings)

    assert [generated(decoder, text, **settings)[0] for text in TEXTS] == together
    assert generated(decoder, TEXTS, **{**settings, "seed": 12}) != together


def test_neighbours_with_other_settings_change_nothing(decoder: Pipeline) -> None:
    lines = [
        {"id": 0, "inputs": "the fox", "parameters": {"max_new_tokens": 9}},
        {"id": 1, "inputs": "the fox", "parameters": {"max_new_tokens": 30, "temperature": 2.0, "seed": 1}},
        {"id": 2, "inputs": TEXTS[1], "parameters": {"max_new_tokens": 3, "repetition_penalty": 2.0}},
    ]

    answered = [json.loads(line) for line in decoder.answer_lines([json.dumps(line).encode() for line in lines]).lines]

    for line, answer in zip(lines, answered, strict=True):
        assert answer["generated_texts"] == generated(decoder, line["inputs"], **line["parameters"])  # type: ignore[arg-type]


def test_a_temperature_alone_means_sampling_unless_it_is_switched_off(decoder: Pipeline) -> None:
    greedy = generated(decoder, "the fox", max_new_tokens=20)

    assert generated(decoder, "the fox", max_new_tokens=20, temperature=5.0) != greedy
    assert generated(decoder, "the fox", max_new_tokens=20, temperature=5.0, do_sample=False) == greedy


def test_a_text_ends_with_its_first_stop(decoder: Pipeline) -> None:
    [whole] = generated(decoder, "the fox", max_new_tokens=40)
    stop = whole[10:13]
    at = whole.index(stop) + len(stop)

    [answer], _ = answer_record(
        decoder,
        {"inputs": "the fox", "parameters": {"max_new_tokens": 40, "stop": [stop, "never said"], "details": True}},
    )

    assert answer["generated_text"] == whole[:at]
    assert answer["details"]["finish_reason"] == "stop_sequence"
    assert answer["details"]["generated_tokens"] == len(answer["details"]["tokens"]) < 40
    assert "".join(token["text"] for token in answer["details"]["tokens"]) == whole[:at]


def test_an_end_token_ends_a_text_and_is_no_part_of_it(loaded: Loaded) -> None:
    weights = loaded.model.lm_head.weight
    with torch.no_grad():
        # What begins the answer says now that it ends, and louder.
        weights[1] = 100 * weights[4]
    [answer], _ = answer_record(
        Pipeline(task_for(loaded)), {"inputs": "the fox", "parameters": {"max_new_tokens": 40, "details": True}}
    )

    assert answer["details"]["finish_reason"] == "eos_token"
    last = answer["details"]["tokens"][-1]
    assert (last["id"], last["text"], last["special"]) == (1, "</s>", True)
    assert "</s>" not in answer["generated_text"]


def test_the_prompt_comes_back_where_it_is_asked_for(decoder: Pipeline) -> None:
    [alone] = generated(decoder, "the fox", max_new_tokens=8)

    assert generated(decoder, "the fox", max_new_tokens=8, return_full_text=True) == ["the fox" + alone]


@pytest.mark.parametrize("form", ["conversations", "conversation", "messages"])
def test_messages_go_through_the_artifacts_own_template(decoder: Pipeline, form: str) -> None:
    record: dict[str, dict[str, Any]] = {
        "conversations": {"inputs": [SYSTEM]},
        "conversation": {"inputs": SYSTEM},
        "messages": {"messages": SYSTEM},
    }

    answers, _ = answer_record(decoder, {**record[form], "parameters": {"max_new_tokens": 5, "return_full_text": True}})

    prompt = "<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nfox? [/INST]"
    assert answers[0]["generated_text"].startswith(prompt)
    assert answers[0]["generation"] == {
        "role": "assistant",
        "content": answers[0]["generated_text"].removeprefix(prompt),
    }
    # Sent as one text, with its special tokens written out, it is the same prompt: they are not put in twice.
    assert generated(decoder, prompt, max_new_tokens=5) == [answers[0]["generation"]["content"]]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"messages": [{"role": "user"}]}, "messages[0].content: must be a text, or a list of parts"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role: must be one of system, user"),
        ({"messages": []}, "must be a list of messages"),
        ({"messages": [*SYSTEM, SYSTEM[1]]}, "the model's chat template refuses these messages: roles must alternate"),
        ({"inputs": "x", "parameters": {"stop": [1]}}, "stop: must be a text, or a list of texts"),
        ({"inputs": "x", "parameters": {"stop": ["a"] * 17}}, "stop: takes at most 16"),
        ({"inputs": "x", "parameters": {"num_beams": 4}}, "num_beams: is not a parameter of this task"),
        ({"inputs": "x", "parameters": {"repetition_penalty": 0}}, "repetition_penalty: must be above 0"),
        ({"inputs": "x", "stream": "yes"}, "stream: must be true or false"),
        ({"inputs": ["x", "y"], "stream": True}, "stream: takes one text at a time"),
        ({"inputs": ""}, "inputs: is empty"),
        ({"parameters": {}}, "inputs: is missing"),
    ],
    ids=str,
)
def test_a_wrong_request_is_told_its_field(decoder: Pipeline, record: dict[str, Any], reason: str) -> None:
    with pytest.raises(RecordInvalid) as refused:
        answer_record(decoder, {"id": 7, **record})

    assert str(refused.value).startswith("record 7: ")
    assert reason in str(refused.value)


def test_messages_without_a_template_are_refused(loaded: Loaded) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = None
    pipeline = Pipeline(task_for(Loaded(loaded.task, loaded.model, tokenizer, loaded.folder)))

    with pytest.raises(RecordInvalid, match="no chat template"):
        answer_record(pipeline, {"messages": SYSTEM})


def test_a_prompt_longer_than_the_limit_is_refused_and_told_what_to_do(loaded: Loaded) -> None:
    pipeline = Pipeline(task_for(loaded, {"MAX_INPUT_LENGTH": "8", "MAX_TOTAL_TOKENS": "20"}))

    with pytest.raises(TooLong, match=r"at most 8 tokens \(MAX_INPUT_LENGTH\), and has 11; shorten it"):
        answer_record(pipeline, {"inputs": "0123456789"})
    with pytest.raises(TooLong, match=r"with 6 tokens of inputs .* 20 \(MAX_TOTAL_TOKENS\); ask for at most 14"):
        answer_record(pipeline, {"inputs": "01234", "parameters": {"max_new_tokens": 15}})
    with pytest.raises(TooLong, match="at most 8 tokens"):
        answer_record(pipeline, {"inputs": "the fox " * 1_000_000})


def test_a_prompt_cut_on_request_keeps_its_end(loaded: Loaded) -> None:
    pipeline = Pipeline(task_for(loaded, {"MAX_INPUT_LENGTH": "8", "MAX_TOTAL_TOKENS": "20"}))

    [answer], _ = answer_record(pipeline, {"inputs": "0123456789", "parameters": {"truncate": 5, "details": True}})

    assert answer["details"]["input_length"] == 5
    # Without max_new_tokens there is as much as the limit leaves.
    assert answer["details"]["generated_tokens"] == 15


@pytest.mark.parametrize(
    ("environment", "field"),
    [
        ({"MAX_TOTAL_TOKENS": "257"}, "MAX_TOTAL_TOKENS"),
        ({"MAX_TOTAL_TOKENS": "many"}, "MAX_TOTAL_TOKENS"),
        ({"MAX_INPUT_LENGTH": "256"}, "MAX_INPUT_LENGTH"),
        ({"MAX_BATCH_TOTAL_TOKENS": "100"}, "MAX_BATCH_TOTAL_TOKENS"),
        ({"MAX_INPUT_LENGTH": "0"}, "MAX_INPUT_LENGTH"),
    ],
    ids=str,
)
def test_limits_that_cannot_be_kept_are_refused_at_the_start(
    loaded: Loaded, environment: dict[str, str], field: str
) -> None:
    with pytest.raises(Invalid) as refused:
        task_for(loaded, environment)

    assert refused.value.field == field


@given(st.text(max_size=30), st.lists(st.integers(3, 319), max_size=20))
def test_pieces_are_the_text(text: str, more: list[int]) -> None:
    tokenizer = TOKENIZER
    tokens = [*tokenizer(text, add_special_tokens=False)["input_ids"], *more]
    words = Words(tokenizer, [0], ())

    events = [words.add(token)[0] for token in tokens]
    events.append(words.rest())

    assert "".join(events) == words.text == tokenizer.decode(tokens, clean_up_tokenization_spaces=False)


TOKENIZER = byte_tokenizer()


def test_no_piece_holds_half_a_character(decoder: Pipeline) -> None:
    words = Words(TOKENIZER, [0], ())

    events = [words.add(token)[0] for token in TOKENIZER("a東🦊", add_special_tokens=False)["input_ids"]]

    assert [event for event in events if event] == ["a", "東", "🦊"]


def test_time_to_the_first_token_is_counted(decoder: Pipeline) -> None:
    run = decoder.answer_lines([b'{"id": 1, "inputs": "the fox", "max_new_tokens": 9}']).run

    assert sum(run.as_json()["first_token_bins"].values()) == 1
    assert run.counts.first_tokens.percentile_ms(50) <= run.counts.latencies.percentile_ms(50)
    assert type(run).of_json(run.as_json()).counts.first_tokens == run.counts.first_tokens


def test_job_parameters_stand_for_every_line(loaded: Loaded) -> None:
    pipeline = Pipeline(task_for(loaded), job={"max_new_tokens": 3, "return_full_text": True})

    answered = pipeline.answer_lines([b'{"id": 1, "inputs": "the fox", "max_new_tokens": 9}'])

    assert json.loads(answered.lines[0])["generated_text"].startswith("the fox")
    assert (answered.run.counts.tokens_out, answered.run.counts.ignored_parameters) == (3, 1)


@pytest.fixture
def small_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda gpus: (1_000, "this machine"))


@pytest.mark.usefixtures("small_machine")
def test_a_model_too_large_for_the_device_is_said_before_it_is_loaded(
    llama_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ModelBroken, match=r"too large for its device: .* Take a larger instance, or .* SM_NUM_GPUS"):
        load(llama_folder)

    assert (
        main(["serve", "--unverified", "--host", "127.0.0.1", "--port", "0"], {"SM_MODEL_DIR": str(llama_folder)}) == 1
    )
    assert "too large for its device" in caplog.text


def test_weights_are_counted_by_their_headers(loaded: Loaded, llama_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "damaged.safetensors").write_bytes(b"\xff" * 20)

    assert memory.numbers_in(llama_folder) == sum(each.numel() for each in loaded.model.parameters())
    assert memory.numbers_in(tmp_path) == 0
    assert memory.available(1)[0] > 0


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"SM_NUM_GPUS": "four"}, "must be a whole number"),
        ({"SM_NUM_GPUS": "64", "INFERENCE_ENGINE": "own"}, "is 64, and this machine has"),
        ({"INFERENCE_ENGINE": "fast"}, "must be own, vllm or ctranslate2"),
    ],
    ids=str,
)
def test_devices_that_there_are_not_are_refused(llama_folder: Path, environment: dict[str, str], reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        load(llama_folder, environment=environment)


def test_an_encoder_decoder_on_several_gpus_is_dealt_out_and_has_one_worker(
    t5_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def dealt(folder: Path, **options: Any) -> Any:
        asked.update(options)
        raise RuntimeError("no GPUs here")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(AutoModelForSeq2SeqLM, "from_pretrained", dealt)

    with pytest.raises(ModelBroken, match="no GPUs here"):
        load(t5_folder, environment={"SM_NUM_GPUS": "4"})

    assert asked["device_map"] == "balanced"


def test_the_last_piece_carries_the_whole_text(decoder: Pipeline) -> None:
    task = decoder.task
    assert isinstance(task, TextGeneration)
    events: list[TokenEvent] = []
    [prompt] = decoder.parse_record({"inputs": "the fox", "parameters": {"max_new_tokens": 6}}).prepared
    task.engine.submit(RequestHandle(prompt, events.append))
    while task.engine.step():
        pass

    assert [event.generated_text for event in events[:-1]] == [None] * 5
    assert events[-1].generated_text == "".join(event.text for event in events)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (
            {"inputs": "fox", "stream": True, "parameters": {"decoder_input_details": True}},
            "decoder_input_details: is not told in a stream",
        ),
        ({"inputs": [[]]}, "inputs: must hold 1 to 1000 messages"),
        ({"messages": [SYSTEM, "fox"]}, "messages: must hold 1 to 1000 messages"),
        ({"messages": [SYSTEM[1]] * 1_001}, "messages: must hold 1 to 1000 messages"),
    ],
)
def test_what_a_stream_or_a_conversation_can_not_hold_is_said(
    decoder: Pipeline, record: dict[str, Any], said: str
) -> None:
    with pytest.raises(RecordInvalid, match=f"^{said}"):
        decoder.parse_record(record)


def test_an_unknown_parameter_of_a_whole_job_is_refused_by_name(decoder: Pipeline) -> None:
    with pytest.raises(
        HyperParametersInvalid, match=r"max_new_token: is not a parameter .* did you mean max_new_tokens"
    ):
        Pipeline(decoder.task, job={"max_new_token": 5})
