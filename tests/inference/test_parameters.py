"""Parameters: where they come from, what they may be."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.errors import HyperParametersInvalid, RecordInvalid
from inference.records.parameters import GENERATION, Generation, Labels, hyper_parameters
from inference.records.requests import generation_request, zero_shot_request
from promotion.errors import Invalid

NOTEBOOK = "{'batch_size': 4, 'max_length': 50, 'top_k': 50, 'top_p': 0.95, 'do_sample': True}"


def test_a_notebooks_python_literal_and_json_mean_the_same() -> None:
    as_json = '{"batch_size": 4, "max_length": 50, "top_k": 50, "top_p": 0.95, "do_sample": true}'

    assert hyper_parameters(NOTEBOOK) == hyper_parameters(as_json) == {
        "batch_size": 4, "max_length": 50, "top_k": 50, "top_p": 0.95, "do_sample": True,
    }  # fmt: skip


@pytest.mark.parametrize("text", [None, "", "  ", "None", "null"])
def test_absent_parameters_leave_each_record_its_own(text: str | None) -> None:
    assert hyper_parameters(text) is None


def test_parameters_are_never_evaluated(tmp_path: Path) -> None:
    trap = tmp_path / "trap"

    with pytest.raises(HyperParametersInvalid, match=r"neither JSON nor a Python literal"):
        hyper_parameters(f"__import__('pathlib').Path({str(trap)!r}).touch()")
    assert not trap.exists()


@pytest.mark.parametrize("text", ["[1]", "7", "(None)", "'text'", "{1: 2}", "{", "(" * 5000, "{'a': " * 2000])
def test_a_value_that_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(HyperParametersInvalid):
        hyper_parameters(text)


def test_parameters_beyond_sagemakers_length_are_refused() -> None:
    with pytest.raises(HyperParametersInvalid, match="10240"):
        hyper_parameters("{'seed': 1" + " " * 10_240 + "}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_length", 0), ("max_length", "50"), ("max_length", 2.5), ("max_length", True), ("max_new_tokens", -1),
        ("num_return_sequences", 0), ("num_beams", 101), ("no_repeat_ngram_size", -1), ("temperature", -1),
        ("temperature", float("nan")), ("temperature", float("inf")), ("temperature", "hot"), ("early_stopping", "always"),
        ("early_stopping", 1), ("do_sample", "yes"), ("do_sample", 1), ("top_k", -2), ("top_p", 0), ("top_p", 1.01),
        ("top_p", float("nan")), ("seed", -1), ("seed", 2**63), ("batch_size", 0), ("batch_size", [4]),
    ],
)  # fmt: skip
def test_a_wrong_value_names_the_parameter_and_the_record(name: str, value: object) -> None:
    with pytest.raises(RecordInvalid, match=f"^record 7: {name}: must be"):
        generation_request({"id": 7, "text_inputs": "a", name: value}, None, Generation())


@given(st.sampled_from(sorted(GENERATION)), st.none() | st.booleans() | st.integers() | st.floats() | st.text())
def test_any_value_is_taken_or_refused_by_name(name: str, value: object) -> None:
    settings, fields = Generation(), []
    try:
        settings = settings.updated({name: value})
    except Invalid as error:
        fields = [error.field]

    assert fields in ([], [name], ["num_return_sequences"])
    assert not fields or settings == Generation()


def test_a_whole_number_may_come_as_a_float_as_a_data_frame_has_it() -> None:
    assert Generation().updated({"max_length": 50.0}).max_length == 50


def test_more_texts_than_the_search_can_tell_apart_are_refused() -> None:
    with pytest.raises(Invalid, match="num_beams of at least 3"):
        Generation().updated({"num_return_sequences": 3})
    assert Generation().updated({"num_return_sequences": 3, "num_beams": 3}).num_beams == 3
    assert Generation().updated({"num_return_sequences": 3, "do_sample": True}).do_sample


def test_a_length_in_the_request_beats_the_models_own() -> None:
    defaults = Generation(max_new_tokens=64)

    assert defaults.updated({"max_length": 5}) == Generation(max_length=5)
    assert defaults.updated({"max_new_tokens": 5}) == Generation(max_new_tokens=5)


def test_an_unknown_parameter_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(RecordInvalid, match=r"record 1: max_lenght: .* did you mean max_length"):
        generation_request({"id": 1, "text_inputs": "a", "max_lenght": 5}, None, Generation())
    with pytest.raises(RecordInvalid, match="record 1: repetition_penalty"):
        generation_request({"id": 1, "inputs": "a", "parameters": {"repetition_penalty": 2}}, None, Generation())


def test_an_unknown_parameter_of_a_job_is_refused_by_name() -> None:
    with pytest.raises(Invalid, match="max_lenght: is not a parameter of this task; did you mean max_length"):
        Generation().updated({"max_lenght": 5})
    with pytest.raises(Invalid, match="seed: is no parameter of zero-shot classification; there are candidate_labels"):
        Labels.of({"candidate_labels": ["x"], "seed": 1})


@pytest.mark.parametrize(("temperature", "kept"), [(0.5, 0.5), (-1.0, 1.0)])
def test_a_models_own_sampling_is_kept_if_it_could_be_sent(temperature: float, kept: float) -> None:
    assert Generation.of_model(SimpleNamespace(temperature=temperature)).temperature == kept


def test_texts_that_ride_along_are_no_parameters() -> None:
    record = {"id": 1, "text_inputs": "a", "source": "cnn", "category": "Humor", "metadata": {"year": 2013}}

    assert generation_request(record, None, Generation()).ignored_parameters == 0


def test_a_jobs_parameters_replace_the_records_and_those_are_counted() -> None:
    record = {"id": 1, "text_inputs": "a", "max_length": 9, "parameters": {"seed": 3}}

    request = generation_request(record, {"max_length": 50}, Generation())

    assert request.settings == Generation(max_length=50)
    assert request.ignored_parameters == 2


def test_both_forms_of_a_zero_shot_request_mean_the_same() -> None:
    flat = {"sequences": "a", "candidate_labels": ["x", "y"], "multi_label": False}
    nested = {
        "inputs": "a",
        "parameters": {"candidate_labels": ["x", "y"], "hypothesis_template": "This example is {}."},
    }

    assert zero_shot_request(flat, None) == zero_shot_request(nested, None)
    assert zero_shot_request({"sequences": "a", "candidate_labels": "x, y"}, None) == zero_shot_request(flat, None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("candidate_labels", []), ("candidate_labels", ""), ("candidate_labels", [1]), ("candidate_labels", [" "]),
        ("candidate_labels", {"a": 1}), ("candidate_labels", ["a"] * 1001), ("hypothesis_template", "no place"),
        ("hypothesis_template", 3), ("multi_label", "maybe"), ("batch_size", 0),
    ],
)  # fmt: skip
def test_wrong_labels_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(RecordInvalid, match=f"record 1: {field}"):
        zero_shot_request({"id": 1, "sequences": "a", "candidate_labels": ["a"], field: value}, None)


def test_labels_of_the_record_count_where_the_job_names_none() -> None:
    record = {"sequences": "a", "candidate_labels": ["x"], "multi_label": True}

    request = zero_shot_request(record, {"multi_label": False})

    assert request.settings == Labels(("x",))
    assert request.ignored_parameters == 1


def test_a_template_from_outside_can_not_reach_into_python() -> None:
    labels = Labels(("x",), "{} {0.__class__}")

    assert labels.hypotheses == ("x {0.__class__}",)
