"""LoRA: examples that don't see each other, completions alone learned, and adapters that fit one base and no other."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from moto import mock_aws
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from examples import finetune_lora, lora
from examples.lora import IGNORED, CannotTrain, Example, Outcome, Settings
from inference.errors import ModelBroken, ModelRefused
from inference.models import lora as adapters
from inference.models.loading import load
from promotion.client.artifact import manifest_of_folder
from tests.inference.llamas import byte_tokenizer, llama

BUCKET = "promotion-models"
FILL = 2
examples_of = st.lists(
    st.tuples(st.integers(1, 12), st.integers(1, 8)).map(
        lambda size: Example(tuple(range(3, 3 + size[0])), tuple(range(40, 40 + size[1])))
    ),
    min_size=1,
    max_size=12,
)


@given(examples_of, st.integers(6, 40))
@settings(max_examples=60)
def test_every_example_that_fits_is_in_one_block_whole_and_once(examples: list[Example], length: int) -> None:
    blocks, dropped = lora.pack(examples, length, FILL)
    packed = []
    for block in blocks:
        for number in range(int(block.segments.max()) + 1):
            place = block.segments == number
            assert block.positions[place].tolist() == list(range(int(place.sum())))
            learned = block.labels[place] != IGNORED
            packed.append(
                Example(tuple(block.tokens[place][~learned].tolist()), tuple(block.tokens[place][learned].tolist()))
            )
    fitting = [example for example in examples if example.length <= length]
    assert sorted(packed, key=repr) == sorted(fitting, key=repr)
    assert dropped == len(examples) - len(fitting)


def test_examples_in_a_block_do_not_see_each_other(llama_folder: Path) -> None:
    """The loss of a full block is that of its examples alone, by their numbers of tokens."""
    model = AutoModelForCausalLM.from_pretrained(llama_folder).eval()
    tokenizer = byte_tokenizer()
    examples = [
        lora.encode(tokenizer, f"The {name} is", told)
        for name, told in (("tide", " late"), ("harbour", " shut"), ("sea", " far"))
    ]
    [together], _ = lora.pack(examples, 96, FILL)
    alone = [lora.pack([example], 96, FILL)[0][0] for example in examples]
    with torch.inference_mode():
        losses = [
            float(lora.loss_of(model, [block])) * len(e.completion) for block, e in zip(alone, examples, strict=True)
        ]
        packed = float(lora.loss_of(model, [together]))
    assert packed == pytest.approx(sum(losses) / sum(len(example.completion) for example in examples), rel=1e-5)


def test_a_prompt_is_not_learned(llama_folder: Path) -> None:
    example = lora.encode(byte_tokenizer(), "The tide is", " late")
    [block], _ = lora.pack([example], 32, FILL)
    assert block.labels[: len(example.prompt)].eq(IGNORED).all()
    assert block.labels[len(example.prompt) : example.length].tolist() == list(example.completion)
    assert example.completion[-1] == byte_tokenizer().eos_token_id


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Outcome]:
    """A base, an adapter on it, and what making it did."""
    folder = tmp_path_factory.mktemp("tuned")
    base, tokenizer = llama(folder / "base"), byte_tokenizer()
    told = [lora.encode(tokenizer, f"Say {word}:", " the tide") for word in ("yes", "no", "maybe", "never", "soon")]
    made = lora.finetune(
        base,
        folder / "adapter",
        told[:4],
        told[4:],
        Settings(steps=30, rate=1e-2, rows=1, block=64),
        fill=FILL,
        quiet=True,
    )
    return base, folder / "adapter", made


def artifact(tuned: tuple[Path, Path, Outcome], folder: Path) -> Path:
    return lora.with_base(tuned[0], tuned[1], folder / "artifact")


def pair_of(module: str, down: tuple[int, ...], up: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {f"base_model.model.{module}.lora_A.weight": down, f"base_model.model.{module}.lora_B.weight": up}


def test_little_is_trained_and_it_helps(tuned: tuple[Path, Path, Outcome]) -> None:
    _, _, made = tuned
    assert 0 < made.trainable < made.parameters
    assert made.loss_after < made.loss_before / 2
    assert made.peak_memory_bytes > 1 << 20


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
def test_an_adapter_put_on_is_what_peft_merges(tuned: tuple[Path, Path, Outcome], tmp_path: Path) -> None:
    base, adapter, _ = tuned
    merged = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).merge_and_unload()
    loaded = load(artifact(tuned, tmp_path), environment={})
    wanted = dict(merged.named_parameters())
    found = dict(loaded.model.named_parameters())
    assert wanted.keys() == found.keys()
    for name, weight in wanted.items():
        torch.testing.assert_close(found[name], weight, rtol=1e-5, atol=1e-6)
    plain = dict(AutoModelForCausalLM.from_pretrained(base).named_parameters())
    assert any(not torch.equal(plain[name], found[name]) for name in plain)


def test_merged_and_adapter_are_the_same_model(tuned: tuple[Path, Path, Outcome], tmp_path: Path) -> None:
    merged = load(lora.merge(tuned[0], tuned[1], tmp_path / "merged"))
    other = load(artifact(tuned, tmp_path), environment={})
    for (name, one), (_, two) in zip(merged.model.named_parameters(), other.model.named_parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6, msg=name)


def test_an_adapter_names_its_base_by_hash_and_no_path_of_this_machine(tuned: tuple[Path, Path, Outcome]) -> None:
    base, adapter, _ = tuned
    assert json.loads((adapter / adapters.BOUND).read_text())["manifest_sha256"] == manifest_of_folder(base).sha256
    assert str(base) not in "".join(path.read_text() for path in adapter.glob("*.json"))


def test_an_adapter_for_another_base_is_refused(tuned: tuple[Path, Path, Outcome], tmp_path: Path) -> None:
    folder = artifact(tuned, tmp_path)
    shutil.rmtree(folder / "base")
    llama(folder / "base", seed=6)
    with pytest.raises(ModelRefused, match="made for another base"):
        load(folder, environment={})


def test_a_base_that_differs_in_one_number_is_another(tuned: tuple[Path, Path, Outcome], tmp_path: Path) -> None:
    folder = artifact(tuned, tmp_path)
    weights = folder / "base" / "model.safetensors"
    tensors = load_file(weights)
    tensors["model.norm.weight"][0] += 1e-3
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(ModelRefused, match="made for another base"):
        load(folder, environment={})


def test_a_base_may_lie_elsewhere_and_is_held_to_the_same_hash(
    tuned: tuple[Path, Path, Outcome], tmp_path: Path
) -> None:
    base, adapter, _ = tuned
    assert load(adapter, environment={adapters.BASE_MODEL: str(base)}).model is not None
    with pytest.raises(ModelRefused, match="made for another base"):
        load(adapter, environment={adapters.BASE_MODEL: str(llama(tmp_path / "other", seed=7))})


def test_an_adapter_is_not_left_to_vllm(tuned: tuple[Path, Path, Outcome], tmp_path: Path) -> None:
    with pytest.raises(ModelBroken, match="merge the adapter"):
        load(artifact(tuned, tmp_path), environment={"INFERENCE_ENGINE": "vllm"})


@pytest.mark.parametrize("environment", [{}, {adapters.BASE_MODEL: "/nowhere"}])
def test_an_adapter_without_its_base_says_where_one_may_be(
    tuned: tuple[Path, Path, Outcome], environment: dict[str, str]
) -> None:
    with pytest.raises(ModelBroken, match=adapters.BASE_MODEL):
        load(tuned[1], environment=environment)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"peft_type": "PREFIX_TUNING"}, "PREFIX_TUNING"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "biases"),
        ({"r": 0}, "rank"),
    ],
)
def test_an_extended_lora_is_refused_rather_than_partly_applied(
    tuned: tuple[Path, Path, Outcome], tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    folder = artifact(tuned, tmp_path)
    config = json.loads((folder / adapters.CONFIG).read_text())
    (folder / adapters.CONFIG).write_text(json.dumps({**config, **changes}))
    with pytest.raises(ModelBroken, match=complaint):
        load(folder, environment={})


def test_an_adapter_that_is_bound_to_nothing_is_refused(tuned: tuple[Path, Path, Outcome], tmp_path: Path) -> None:
    folder = artifact(tuned, tmp_path)
    (folder / adapters.BOUND).unlink()
    with pytest.raises(ModelRefused, match="bound to no base"):
        load(folder, environment={})


def test_weights_of_another_shape_are_named(tuned: tuple[Path, Path, Outcome], tmp_path: Path) -> None:
    folder = artifact(tuned, tmp_path)
    tensors = load_file(folder / adapters.WEIGHTS)
    name = next(key for key in tensors if key.endswith("lora_A.weight"))
    tensors[name] = tensors[name][:, :-1].contiguous()
    save_file(tensors, folder / adapters.WEIGHTS)
    with pytest.raises(ModelBroken, match=r"The adapter's model\.layers"):
        load(folder, environment={})


@pytest.mark.parametrize(
    ("tensors", "complaint"),
    [
        (None, "adapter_model.safetensors can't be read"),
        ({}, "half an adapter, or none"),
        ({"base_model.model.layer.lora_A.weight": (2, 4)}, "half an adapter, or none"),
        ({"base_model.model.layer.lora_magnitude_vector": (4,)}, "holds base_model.model.layer.lora_magnitude_vector"),
        ({"layer.lora_A.weight": (2, 4), "layer.lora_B.weight": (4, 2)}, "holds layer.lora_A.weight"),
        (pair_of("gone", (2, 4), (4, 2)), "changes gone, which the base has not"),
        (pair_of("layer", (4,), (4, 2)), "layer is no pair of matrices"),
        (pair_of("layer", (2, 4), (4, 2, 1)), "layer is no pair of matrices"),
    ],
)
def test_weights_that_are_no_plain_lora_of_the_base_are_said(
    tmp_path: Path, tensors: dict[str, tuple[int, ...]] | None, complaint: str
) -> None:
    base = torch.nn.ModuleDict({"layer": torch.nn.Linear(4, 4)})
    (tmp_path / adapters.CONFIG).write_text('{"peft_type": "LORA", "r": 2, "lora_alpha": 2}')
    (tmp_path / adapters.WEIGHTS).write_bytes(b"damaged")
    if tensors is not None:
        save_file({name: torch.zeros(shape) for name, shape in tensors.items()}, tmp_path / adapters.WEIGHTS)
    with pytest.raises(ModelBroken, match=re.escape(complaint)):
        adapters.apply(base, tmp_path)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "\xff", None])
def test_a_binding_that_is_no_json_is_said(tmp_path: Path, text: str | None) -> None:
    if text is None:
        (tmp_path / adapters.BOUND).mkdir()
    else:
        (tmp_path / adapters.BOUND).write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelBroken, match=r"base\.json can't be read"):
        adapters.base_of(tmp_path, {})


def test_four_bits_say_what_they_need() -> None:
    with pytest.raises(CannotTrain, match="CUDA GPU and bitsandbytes"):
        lora.check_four_bit()


def test_an_encoder_decoder_is_refused_before_training(t5_folder: Path) -> None:
    with pytest.raises(CannotTrain, match="no decoder"):
        lora.load_base(t5_folder, four_bit=False)


def test_the_same_pair_is_always_on_the_same_side() -> None:
    pairs = finetune_lora.harbour_pairs(300)
    learned, kept = finetune_lora.split(pairs)
    assert not {prompt for prompt, _ in learned} & {prompt for prompt, _ in kept}
    assert set(finetune_lora.split(pairs[:100])[1]) <= set(kept)


def test_a_line_that_is_no_pair_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data.jsonl").write_text('{"prompt": "a", "completion": "b"}\n{"text": "c"}\n')
    assert finetune_lora.main(["--output", str(tmp_path / "m"), "--data", str(tmp_path / "data.jsonl")]) == 1
    assert "data.jsonl:2" in capsys.readouterr().err


@pytest.fixture
def aws() -> Iterator[Any]:
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield boto3.client("sagemaker")


@pytest.mark.parametrize("kind", ["merged", "adapter"])
def test_fine_tuning_ends_in_a_registration(
    aws: Any, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "--examples",
        "120",
        "--base-steps",
        "2",
        "--steps",
        "2",
        "--rows",
        "1",
        "--measured",
        "3",
        "--rank",
        "4",
    ]
    told = ["--register", "harbour-chat", "--requested-by", "dee@example.com", "--as", kind]
    assert finetune_lora.main(["--output", str(tmp_path / "tuned"), *arguments, *told]) == 0
    said = capsys.readouterr().out
    assert "parameters (" in said
    assert "peak memory" in said
    [summary] = aws.list_model_packages(ModelPackageGroupName="harbour-chat")["ModelPackageSummaryList"]
    package = aws.describe_model_package(ModelPackageName=summary["ModelPackageArn"])
    metadata = package["CustomerMetadataProperties"]
    assert metadata["requested_by"] == "dee@example.com"
    assert metadata["base_manifest_sha256"] == manifest_of_folder(tmp_path / "tuned-base").sha256
    assert metadata["method"] == f"LoRA rank 4 {'merged' if kind == 'merged' else 'as an adapter'}"
    [container] = package["InferenceSpecification"]["Containers"]
    assert container["Environment"] == {"HF_TASK": "text-generation"}
    metrics = json.loads(stored(package["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"]))
    assert {"rougeL", "held_out_loss"} <= metrics["metrics"].keys()
    assert "length" in json.loads(stored(package["DriftCheckBaselines"]["ModelDataQuality"]["Statistics"]["S3Uri"]))
    assert (tmp_path / "tuned" / "README.md").read_text().startswith("# tuned-base, fine-tuned")


def stored(uri: str) -> bytes:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    body: bytes = boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    return body
