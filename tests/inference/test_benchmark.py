"""What the inference benchmark says of its figures: nothing is rounded up, and nothing unmeasured is met."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import inference_gpu, inference_profile
from benchmarks.inference_report import GOALS, headline, limit, met
from inference.engines.decoder import Decoder
from inference.engines.weight_reading import read_weights
from tests.inference.test_engine_exact import own, prompts, t5

NONE: dict[str, float | None] = dict.fromkeys(GOALS)


def variant(ratio: float) -> dict[str, float]:
    return {"ratio": ratio, "identical": 1.0, "cpu_s": 6.0}


def figures(*, flags: tuple[str, ...] = ("amx_bf16",), load: float = 0.5) -> dict[str, Any]:
    return {
        "machine": {"cores": 2, "flags": list(flags), "load_average_before": 0.1},
        "load_average_after": load,
        "variants": {
            "articles: Hugging Face, arrival, 4": variant(1.0),
            "articles: engine": variant(2.6),
            "articles: engine, bf16": variant(9.0),
        },
        "two_cores": {"fp32": 13.0},
        "zero_shot": {"ratio": None},
    }


def test_what_was_not_measured_is_blank_and_no_goal_is_met_by_it() -> None:
    said = headline(figures())

    assert {name for name, value in said["ratios"].items() if value is None} == {
        "beam4", "zero_shot", "ctranslate2_fp32", "ctranslate2_int8",
    }  # fmt: skip
    assert said["identical"] == {"fp32_greedy": 1.0, "beam4": None}
    assert {met(name, NONE) for name in GOALS} == {""}


@pytest.mark.parametrize(("load", "expected"), [(0.5, 13.0), (3.5, None)])
def test_wall_time_counts_on_a_quiet_machine_only(load: float, expected: float | None) -> None:
    assert headline(figures(load=load))["ratios"]["two_cores"] == expected


def test_where_two_cores_were_not_measured_there_is_no_figure() -> None:
    assert headline(figures() | {"two_cores": None})["ratios"]["two_cores"] is None


def test_bfloat16_has_no_figure_without_the_units_that_its_goal_is_about() -> None:
    assert headline(figures())["ratios"]["cpu_bf16_greedy"] == 9.0
    assert headline(figures(flags=("avx512_bf16",)))["ratios"]["cpu_bf16_greedy"] is None


@pytest.mark.parametrize(
    ("name", "ratios", "expected"),
    [
        ("cpu_fp32_greedy", {"cpu_fp32_greedy": 4.499}, "no"),
        ("cpu_fp32_greedy", {"cpu_fp32_greedy": 4.5}, "yes"),
        ("ctranslate2_fp32", {"ctranslate2_fp32": 2.5, "cpu_fp32_greedy": 2.6}, "yes"),
        ("ctranslate2_fp32", {"ctranslate2_fp32": 2.6, "cpu_fp32_greedy": 2.6}, "no"),
        ("ctranslate2_int8", {"ctranslate2_int8": 5.0, "cpu_bf16_greedy": 5.9}, "no"),
        ("ctranslate2_int8", {"ctranslate2_int8": 5.0, "cpu_bf16_greedy": 6.1}, "yes"),
        ("ctranslate2_int8", {"ctranslate2_int8": 5.0}, ""),
    ],
)
def test_a_goal_is_met_or_not(name: str, ratios: dict[str, float], expected: str) -> None:
    assert met(name, {**NONE, **ratios}) == expected


def test_a_profile_has_all_of_the_time_and_leaves_the_engine_as_it_was() -> None:
    engine, step = own(t5()), Decoder.step

    found = inference_profile.where(lambda: list(engine.generate(prompts())))

    assert set(found) == {"encoder", "keys and values of the input", "steps", "choosing", "the rest", "whole"}
    assert sum(found.values()) - found["whole"] == pytest.approx(found["whole"], abs=0.01)
    assert Decoder.step is step


def test_the_least_is_the_work_at_the_rate_of_its_kernels() -> None:
    weights = read_weights(t5(), fused=False)

    articles = [(5,) * 30, (5,) * 10]

    least = inference_profile.least_encoder_seconds(weights, articles)
    decoder = inference_profile.least_decoder_seconds(weights, articles, [4, 2], 0.5)

    # Width 32, 4 heads of 8, 48 within, 2 layers, a vocabulary of 64.
    layer = 4 * 32 * 32 + 2 * 32 * 48
    assert least["product_gflop"] == pytest.approx(2 * 40 * 2 * layer / 1e9)
    assert least["attention_gflop"] == pytest.approx(4 * 2 * 32 * (30**2 + 10**2) / 1e9)
    rates = least["product_gflop_per_s"], least["attention_gflop_per_s"]
    assert least["seconds"] == pytest.approx(least["product_gflop"] / rates[0] + least["attention_gflop"] / rates[1])
    read_once, each = 2 * 2 * 32 * 32, 2 * (layer + 2 * 32 * 32) + 64 * 32
    assert decoder["product_gflop"] == pytest.approx(2 * (40 * read_once + 6 * each) / 1e9)
    assert decoder["read_gb"] == pytest.approx(2 * 2 * 32 * 4 * (30 * 4 + 10 * 2) / 1e9)
    spent = decoder["product_gflop"] / 0.5 + decoder["read_gb"] / decoder["read_gb_per_s"]
    assert decoder["seconds"] == pytest.approx(spent)


def test_the_page_says_what_the_processor_allows() -> None:
    rates = dict.fromkeys(("product_gflop", "product_gflop_per_s", "attention_gflop", "attention_gflop_per_s"), 1.0)
    rates |= dict.fromkeys(("attention_without_bias_gflop_per_s", "read_gb", "read_gb_per_s"), 1.0)
    least = {"least_encoder": rates | {"seconds": 2.0}, "least_decoder": rates | {"seconds": 0.5}}

    page = limit(figures() | {"profile": {"greedy": {"steps": 1.0}, "beams": {}, **least}})

    assert "| steps | 1.000 |  |" in page
    assert any("at 3.0 times, and one without a pause between its kernels at 2.4." in line for line in page)


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
