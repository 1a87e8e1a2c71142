"""Scores are those of the reference implementations, joined by id, with nothing lost or counted twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rouge_score import rouge_scorer
from sacrebleu.metrics import BLEU, CHRF

from inference.__main__ import main
from inference.scoring.drift import drift, profile
from inference.scoring.metrics import Confusion, mean_estimates
from inference.scoring.score import score
from promotion.errors import Invalid
from tests.inference.samples import sentences


def lines(path: Path, records: Sequence[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def answers(path: Path, texts: Sequence[str]) -> Path:
    return lines(path, [{"id": place, "generated_texts": [text]} for place, text in enumerate(texts)])


def references(path: Path, texts: Sequence[str], name: str = "highlights") -> Path:
    return lines(path, [{"id": place, name: text} for place, text in enumerate(texts)])


@pytest.fixture
def pairs() -> tuple[list[str], list[str]]:
    said = [f"{text} .\nand more" for text in sentences(30, seed=1, longest=15)]
    wanted = [f"{text} .\nand less" for text in sentences(30, seed=2, longest=15)]
    return said, [*wanted[:25], *said[25:]]


def test_rouge_is_that_of_rouge_score(tmp_path: Path, pairs: tuple[list[str], list[str]]) -> None:
    said, wanted = pairs

    found = score(answers(tmp_path / "o", said), references(tmp_path / "r", wanted), tmp_path / "s")["metrics"]

    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"])
    for name in ("rouge1", "rouge2", "rougeL", "rougeLsum"):
        expected = np.mean([scorer.score(w, s)[name].fmeasure for s, w in zip(said, wanted, strict=True)])
        assert found[name]["value"] == pytest.approx(expected, abs=1e-6)
        assert found[name]["low"] <= found[name]["value"] <= found[name]["high"]
        assert found[name]["n"] == 30
    assert found["exact_match"]["value"] == pytest.approx(5 / 30, abs=1e-6)


def test_translation_is_scored_by_sacrebleu(tmp_path: Path, pairs: tuple[list[str], list[str]]) -> None:
    said, wanted = pairs

    outputs, right = answers(tmp_path / "o", said), references(tmp_path / "r", wanted)
    found = score(outputs, right, tmp_path / "s", task="translation_en_to_fr")["metrics"]

    assert found["chrf"]["value"] == pytest.approx(CHRF().corpus_score(said, [wanted]).score, abs=1e-4)
    assert found["bleu"]["value"] == pytest.approx(BLEU().corpus_score(said, [wanted]).score, abs=1e-4)
    assert found["chrf"]["low"] < found["chrf"]["value"] < found["chrf"]["high"]


@pytest.mark.parametrize(("language", "tokens"), [("ja", "char"), ("zh", "zh"), ("fr", "13a")])
def test_a_translation_into_a_script_without_spaces_is_counted_by_characters(
    tmp_path: Path, language: str, tokens: str
) -> None:
    said, wanted = ["今日は雨です", "猫がいます", "本を読みました"], ["今日は晴れです", "猫がいます", "本を読みます"]
    outputs, right = answers(tmp_path / "o", said), references(tmp_path / "r", wanted)

    found = score(outputs, right, tmp_path / "s", task=f"translation_en_to_{language}")

    expected = BLEU(tokenize=tokens).corpus_score(said, [wanted]).score
    assert found["metrics"]["bleu"]["value"] == pytest.approx(expected, abs=1e-4)
    assert f"tok:{tokens}" in found["signatures"]["bleu"]
    assert found["metrics"]["chrf"]["value"] > 40


def test_rouge_is_not_applicable_to_a_script_without_word_breaks_it_knows(tmp_path: Path) -> None:
    found = score(
        answers(tmp_path / "o", ["今日は雨です", "猫"]),
        references(tmp_path / "r", ["今日は雨です", "犬"]),
        tmp_path / "s",
    )

    assert set(found["metrics"]) == {"exact_match"}
    assert set(found["not_applicable"]) == {"rouge1", "rouge2", "rougeL", "rougeLsum"}
    assert found["metrics"]["exact_match"]["value"] == 0.5


def test_of_several_references_the_best_counts(tmp_path: Path) -> None:
    right = lines(tmp_path / "r", [{"id": 0, "references": ["a b", "the fox"]}, {"id": 1, "reference": ["the fox"]}])

    found = score(answers(tmp_path / "o", ["the fox", "the fox"]), right, tmp_path / "s")

    assert found["metrics"]["exact_match"]["value"] == 1


def test_a_list_is_scored_part_by_part(tmp_path: Path) -> None:
    outputs = lines(tmp_path / "o", [[{"id": 0, "generated_texts": ["fox"]}, {"id": 0, "generated_texts": ["dog"]}]])
    right = lines(tmp_path / "r", [{"id": 0, "reference": ["fox", ["cat", "bird"]]}])

    found = score(outputs, right, tmp_path / "s")

    assert found["metrics"]["exact_match"] == {**found["metrics"]["exact_match"], "value": 0.5, "n": 2}
    assert found["counts"]["records"] == 1


def test_empty_lines_between_the_answers_of_a_job_are_skipped(
    tmp_path: Path, pairs: tuple[list[str], list[str]]
) -> None:
    """SageMaker adds a newline after each answer that it assembles, also after one that ends in a newline."""
    said, wanted = pairs
    outputs = answers(tmp_path / "o", said)
    halves = outputs.read_text().splitlines(keepends=True)
    outputs.write_text("".join(halves[:15]) + "\n" + "".join(halves[15:]) + "\n")

    found = score(outputs, references(tmp_path / "r", wanted), tmp_path / "s")

    assert found["metrics"]["rougeL"]["n"] == 30
    # A line that can't be read is an error, and would be skipped as well.
    assert (found["counts"]["records"], found["counts"]["errors"]) == (30, 0)


def test_unmatched_lines_are_counted(tmp_path: Path) -> None:
    outputs = lines(
        tmp_path / "o",
        [
            {"id": 0, "generated_texts": ["fox"]}, {"id": 0, "generated_texts": ["dog"]}, {"id": "1", "generated_texts": ["fox"]},
            {"id": 9, "generated_texts": ["fox"]}, {"id": 2, "error": "record 2: bad", "generated_texts": [""]},
            {"error": "the line is empty.", "generated_texts": [""]}, {"error": "the line is empty.", "generated_texts": [""]},
        ],
    )  # fmt: skip
    right = lines(tmp_path / "r", [{"id": place, "target": "fox"} for place in (0, 1, 1.0, 2, 5, 6)])

    found = score(outputs, right, tmp_path / "s")

    counts = {
        name: found["counts"][name]
        for name in ("records", "errors", "duplicates", "missing_references", "surplus_references")
    }
    assert counts == {"records": 7, "errors": 3, "duplicates": 2, "missing_references": 1, "surplus_references": 2}
    assert found["metrics"]["exact_match"]["value"] == 1
    assert found["metrics"]["exact_match"]["n"] == 2


@pytest.mark.parametrize(
    ("output", "reference", "reason"),
    [
        ({"generated_texts": ["a"]}, {"id": 1, "target": "a"}, "o line 1: has no id"),
        ({"id": 1, "generated_texts": ["a"]}, {"target": "a"}, "r line 1: has no id"),
        ({"id": 1, "generated_texts": ["a"]}, {"id": 1, "wrong": "a"}, "r line 1: has none of highlights"),
        ({"id": 1}, {"id": 1, "target": "a"}, "o line 1: has neither generated_texts nor labels"),
        ("text", {"id": 1, "target": "a"}, "o line 1: is not an object"),
    ],
)
def test_lines_that_can_not_be_joined_are_reported_by_file_and_line(
    tmp_path: Path, output: Any, reference: Any, reason: str
) -> None:
    with pytest.raises(Invalid, match=reason):
        score(lines(tmp_path / "o", [output]), lines(tmp_path / "r", [reference]), tmp_path / "s")


def test_a_field_without_references_is_named_with_the_line(tmp_path: Path) -> None:
    outputs = lines(tmp_path / "o", [{"id": 1, "generated_texts": ["a"]}])
    with pytest.raises(Invalid, match="r line 1: has no field summary for the reference"):
        score(outputs, lines(tmp_path / "r", [{"id": 1, "target": "a"}]), tmp_path / "s", reference_field="summary")


def test_an_answer_joined_with_its_input_is_read_below_its_own_key(tmp_path: Path) -> None:
    joined = {"id": 0, "text_inputs": "?", "SageMakerOutput": {"generated_texts": ["fox"]}}

    found = score(lines(tmp_path / "o", [joined]), references(tmp_path / "r", ["fox"]), tmp_path / "s")

    assert (found["metrics"]["exact_match"]["value"], found["counts"]["errors"]) == (1, 0)


def test_without_references_only_counts_and_speed_are_told(tmp_path: Path) -> None:
    found = score(lines(tmp_path / "o", [{"generated_texts": ["a"]}]), None, tmp_path / "s")

    assert found["metrics"] == {}
    assert found["counts"]["records"] == 1
    assert (tmp_path / "s" / "metrics.png").exists()


def test_classes_are_scored_by_accuracy_and_macro_f1(tmp_path: Path) -> None:
    wanted = ["cat", "cat", "cat", "dog", "dog", "owl"]
    said = ["cat", "cat", "dog", "dog", "cat", "owl"]
    outputs = lines(
        tmp_path / "o", [{"id": n, "labels": [label, "else"], "scores": [0.6, 0.4]} for n, label in enumerate(said)]
    )

    found = score(outputs, references(tmp_path / "r", wanted, "category"), tmp_path / "s")

    assert found["task"] == "zero-shot-classification"
    assert found["metrics"]["accuracy"]["value"] == pytest.approx(4 / 6, abs=1e-6)
    # By hand: cat 2/3, dog 1/2, owl 1.
    assert found["metrics"]["macro_f1"]["value"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3, abs=1e-6)
    assert found["confusion"] == {"labels": ["cat", "dog", "owl"], "counts": [[2, 1, 0], [1, 1, 0], [0, 0, 1]]}
    assert set(found["pictures"]) >= {"metrics.png", "confusion.png"}
    assert "1 of dog as cat" in found["alternatives"]["confusion.png"]


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(3)
    held = 0
    for _ in range(200):
        [estimate] = mean_estimates(random.random((40, 1)), seed=int(random.integers(1 << 30)))
        held += estimate.low <= 0.5 <= estimate.high
    assert 0.88 <= held / 200 <= 0.99


def test_accuracy_of_a_confusion_has_its_interval() -> None:
    [accuracy, _] = Confusion.of([("a", "a")] * 80 + [("a", "b")] * 20).estimates().values()

    assert (accuracy.value, accuracy.n) == (0.8, 100)
    assert 0.70 < accuracy.low < 0.76
    assert 0.84 < accuracy.high < 0.90


def test_500_labels_are_scored_as_few_are() -> None:
    random = np.random.default_rng(1)
    wanted = [f"label {place}" for place in random.integers(0, 500, 3_000)]
    said = [one if random.random() < 0.7 else f"label {random.integers(0, 500)}" for one in wanted]

    accuracy, macro_f1 = Confusion.of(list(zip(wanted, said, strict=True))).estimates().values()

    labels = sorted({*wanted, *said})
    by_hand = []
    for label in labels:
        right = sum(w == s == label for w, s in zip(wanted, said, strict=True))
        by_hand.append(2 * right / (wanted.count(label) + said.count(label)))
    assert macro_f1.value == pytest.approx(np.mean(by_hand))
    assert accuracy.value == pytest.approx(np.mean([w == s for w, s in zip(wanted, said, strict=True)]))
    assert accuracy.low < accuracy.value < accuracy.high


def test_metrics_come_by_each_field_with_few_values(tmp_path: Path) -> None:
    outputs = answers(tmp_path / "o", ["fox"] * 4)
    right = lines(
        tmp_path / "r",
        [
            {"id": n, "summary": text, "source": source}
            for n, (text, source) in enumerate([("fox", "a"), ("dog", "a"), ("fox", "b"), ("fox", "b")])
        ],
    )
    asked = lines(
        tmp_path / "i", [{"id": n, "text_inputs": "?", "unit": "x", "day": "mo" if n else "tu"} for n in range(4)]
    )

    found = score(outputs, right, tmp_path / "s", inputs=asked)["slices"]

    assert found["source"]["a"]["exact_match"] == {"value": 0.5, "n": 2}
    assert found["source"]["b"]["exact_match"] == {"value": 1, "n": 2}
    assert found["day"]["tu"]["exact_match"]["n"] == 1
    assert "unit" not in found


def test_the_same_population_has_not_drifted_and_another_has() -> None:
    baseline = json.loads(json.dumps(profile(sentences(2_000, seed=1))))

    same = drift(baseline, sentences(2_000, seed=2))
    longer = drift(baseline, [f"{text} {text} {text}" for text in sentences(500, seed=3)])
    other = drift(baseline, ["completely different words here"] * 500)

    assert max(same.values()) < 0.1
    assert longer["length_psi"] > 0.25
    assert longer["vocabulary_psi"] < 0.1
    assert other["vocabulary_psi"] > 0.25


def test_of_no_text_there_is_neither_a_baseline_nor_drift() -> None:
    with pytest.raises(Invalid, match="baseline: there is no text to make one from"):
        profile([])
    assert drift(profile(["fox"]), []) == {}


def test_a_baseline_of_another_make_is_refused_and_leaves_the_score(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="baseline"):
        drift({"length": 5}, ["a"])
    answers(tmp_path / "o.out", ["fox"])
    asked = lines(tmp_path / "i", [{"id": 0, "text_inputs": "?"}])
    words = {"words": ["a"], "shares": [1, 0]}
    for baseline in (
        {"vocabulary": 5},
        {"vocabulary": words, "length": {"edges": [], "shares": []}},
        {"vocabulary": words, "length": {"edges": [], "shares": [float("nan")]}},
    ):
        document = score(
            tmp_path / "o.out",
            references(tmp_path / "r.jsonl", ["fox"]),
            tmp_path / "s",
            inputs=asked,
            baseline=baseline,
        )
        assert document["drift_problem"].startswith("Drift was not measured: baseline: ")
        assert (document["drift"], document["metrics"]["exact_match"]["value"]) == ({}, 1)


def test_a_run_is_stamped_and_drawn_against_gates_and_live(tmp_path: Path) -> None:
    answers(tmp_path / "o.out", ["fox", "dog"])
    references(tmp_path / "r.jsonl", ["fox", "cat"])
    approval = {
        "approval_id": "a-1",
        "model_package_group": "g",
        "model_package_version": 3,
        "environment": "test",
        "sequence": 9,
    }
    for name, document in (
        ("approval", approval),
        ("gates", [{"metric": "exact_match", "min": 0.6, "max": None}]),
        ("live", {"exact_match": 0.55, "rougeL": None}),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    options = [part for name in ("approval", "gates", "live") for part in (f"--{name}", str(tmp_path / f"{name}.json"))]

    places = [
        "--outputs",
        str(tmp_path / "o.out"),
        "--references",
        str(tmp_path / "r.jsonl"),
        "--output",
        str(tmp_path / "s"),
    ]
    assert main(["score", *places, *options], {}) == 0

    found = json.loads((tmp_path / "s" / "metrics.json").read_text())
    assert (found["schema"], found["approval_id"], found["model_package_version"]) == (1, "a-1", 3)
    said = found["alternatives"]["metrics.png"]
    assert said.startswith("g v3 in test, 2 records")
    assert "Exact match 0.5 " in said
    assert "live 0.55, gate at least 0.6: failed" in said
    assert (tmp_path / "s" / "metrics.png").read_bytes().startswith(b"\x89PNG")


def test_samples_go_from_worst_to_best(tmp_path: Path) -> None:
    outputs = answers(tmp_path / "o", ["fox fox", "fox", "x"])
    asked = lines(tmp_path / "i", [{"id": n, "text_inputs": f"question {n}"} for n in range(3)])

    samples = score(outputs, references(tmp_path / "r", ["fox"] * 3), tmp_path / "s", inputs=asked)["samples"]

    assert [sample["id"] for sample in samples] == ["2", "0", "1"]
    assert samples[0] == {"id": "2", "input": "question 2", "output": "x", "reference": "fox", "score": 0.0}


def test_the_same_numbers_make_the_same_picture(tmp_path: Path, pairs: tuple[list[str], list[str]]) -> None:
    said, wanted = pairs
    outputs, right = answers(tmp_path / "o", said), references(tmp_path / "r", wanted)

    for folder in ("a", "b"):
        score(outputs, right, tmp_path / folder)

    assert (tmp_path / "a" / "metrics.png").read_bytes() == (tmp_path / "b" / "metrics.png").read_bytes()
