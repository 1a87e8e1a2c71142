"""The inference benchmark's report: nothing is rounded up, and no unmeasured goal is met."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import inference, inference_gpu, inference_peers, inference_report, inference_service
from benchmarks.inference_models import tokenizer_of
from benchmarks.peers.worker import BATCH_TOKENS, batches
from inference.engines.decoder import Decoder
from inference.engines.encoder import Encoder
from tests.inference.test_engine_exact import own, prompts, t5

SHAPE = "flan-t5-base, articles"


def figures(**ratios: float) -> dict[str, Any]:
    ratios = {"Hugging Face, arrival, 4": 1.0, "engine": 2.6, **ratios}
    shape = {
        "ratios": ratios, "cpu_s": dict.fromkeys(ratios, 1.0), "identical": dict.fromkeys(ratios, 1.0),
        "ratios_of_rounds": {way: [ratio] for way, ratio in ratios.items()},
    }  # fmt: skip
    return {"machine": {}, "gpu": None, "shapes": {SHAPE: shape}}


@pytest.mark.parametrize(("best", "met"), [(2.699, False), (2.7, True)])
def test_a_goal_is_met_by_the_best_way_there_is(best: float, met: bool) -> None:
    found = inference_report.headline(figures(**{"CTranslate2, int8": best}))[SHAPE]

    assert (found["best"], found["met"]) == (best, met)


def test_missing_measurements_are_blank() -> None:
    assert inference_report.headline(figures())[SHAPE]["ahead_of_ctranslate2"] is None
    page = inference_report.page(figures())

    assert f"| {SHAPE} | 2.60 | 2.7 | no |  |  | 2.6 |" in page
    assert "GPU: not measured." in page


def test_the_same_precision_is_compared() -> None:
    found = inference_report.headline(figures(**{"CTranslate2, float32": 2.0, "CTranslate2, int8": 4.0}))[SHAPE]

    assert found["ahead_of_ctranslate2"] == 1.3


def test_every_goal_is_of_a_shape_that_is_measured() -> None:
    assert set(inference_report.GOALS) <= set(inference.SHAPES)


def test_a_peer_is_no_way_of_ours_and_ctranslate2_is_both() -> None:
    found = inference_report.headline(figures(**{"default container": 0.8, "ONNX Runtime, float32": 5.2}))[SHAPE]

    assert (found["best"], found["ahead_of_container"], found["ahead_of_every_peer"]) == (2.6, 3.25, 0.5)
    found = inference_report.headline(figures(**{"CTranslate2, int8": 5.0}))[SHAPE]
    assert (found["best"], found["ahead_of_every_peer"]) == (5.0, 1.0)


def peer_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str) -> Path:
    """A folder with a tokenizer, and a worker in place of the peers' own, which `does` this."""
    (tmp_path / "worker.py").write_text(f"import json, sys\n{does}\n")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "TokenizersBackend"}')
    monkeypatch.setattr(inference_peers, "HERE", tmp_path)
    monkeypatch.setattr(inference_peers, "python", lambda: sys.executable)
    return tmp_path


def test_a_peers_time_is_its_own_and_its_answers_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    does = """
print(json.dumps({"transformers": "4"}), flush=True)
for line in sys.stdin:
    work = json.loads(line)
    print(json.dumps({"seconds": 7.5, "memory_mb": 3, "said": work.get("rows") or work["requests"]}), flush=True)
"""
    folder = peer_that(tmp_path, monkeypatch, does)

    found = inference_peers.peers(
        folder, "texts", [(5, 1)], [{"inputs": "t5 t9"}], 4, lambda asked: tuple(map(ord, asked["inputs"]))
    )

    try:
        assert {name: peer() for name, peer in found.items()} == {
            "default container": [tuple(map(ord, "t5 t9"))], "ONNX Runtime, float32": [(5, 1)],
        }  # fmt: skip
        assert [peer.seconds for peer in found.values()] == [7.5, 7.5]
    finally:
        for peer in found.values():
            peer.close()


def test_a_peer_that_does_not_open_a_model_has_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = peer_that(tmp_path, monkeypatch, "sys.exit(3)")

    assert inference_peers.peers(folder, "texts", [(5, 1)], [], 4, tuple) == {}


def test_onnx_runtimes_batches_are_of_like_length_within_a_budget() -> None:
    found = list(batches([30, BATCH_TOKENS, 700, 1_000, 900]))

    assert found == [[1], [3, 4], [2, 0]]


def test_all_ways_write_the_same_and_the_engines_time_is_a_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference_peers, "python", lambda: None)
    model = t5(vocab_size=64)
    shape = inference.Shape(lambda: model, inference.texts, (9, 4, 30, 12, 7))

    ways = inference.texts(model, shape)
    said = {name: run() for name, run in ways.items()}

    assert said["engine"] == said["plain path"] == said[inference.NAME]
    assert {len(row) for row in said["engine"]} == {inference.NEW_TOKENS}

    model.save_pretrained(tmp_path)
    tokenizer_of(model).save_pretrained(tmp_path)
    found = inference_service.engine_share(tmp_path, [{"text_inputs": "t5 t9", "max_new_tokens": 4}] * 3)
    assert found["lines"] == 3
    assert 0 < found["engine_share"] < 1
    assert 0 < found["engine_share_of_cpu"] < 1


def test_a_profile_has_all_of_the_time_and_leaves_the_engine_as_it_was() -> None:
    engine, step = own(t5()), Decoder.step

    found = inference_gpu.where(
        lambda: list(engine.generate(prompts())), {"encoder": (Encoder, "encode"), "steps": (Decoder, "step")}
    )

    assert set(found) == {"encoder", "steps", "the rest", "whole"}
    assert sum(found.values()) - found["whole"] == pytest.approx(found["whole"], abs=0.01)
    assert Decoder.step is step


def test_shapes_are_measured_against_their_limit_and_hugging_face() -> None:
    small = inference_gpu.Work(
        texts={"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4},
        labels={"vocab_size": 64, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 48,
                "decoder_ffn_dim": 48, "encoder_attention_heads": 2, "decoder_attention_heads": 2},
        articles=9, tokens_in=20, tokens_out=5, pairs=12, pair_tokens=10, compared=8,
    )  # fmt: skip

    found = inference_gpu.measure(small, "cpu")

    assert found["articles"]["tokens"] == 9 * 5
    for name, most in (("articles", inference_gpu.ARTICLES_PER_S), ("pairs", inference_gpu.PAIRS_PER_S)):
        assert found[name]["share_of_limit"] * most == pytest.approx(found[name]["per_s"])
        assert found[name]["ratio"] * found[name]["hugging_face_per_s"] == pytest.approx(found[name]["per_s"])
    parts = found["articles"]["seconds"]
    assert sum(parts.values()) == pytest.approx(2 * parts["whole"])
    assert parts["encoder"] > 0
    assert Decoder.admit.__name__ == "admit"
