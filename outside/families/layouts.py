"""Ways in which people pack a model: each is loaded and answers as the plain one does, or is refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from checkpoints import ROWS
from compare import REFUSALS
from safetensors.torch import load_file, save_file

from inference.batch.opening import task_for
from inference.models.loading import load
from inference.tasks.pipeline import Pipeline
from promotion.client.kept_documents import KeptDocuments
from promotion.domain.model_layout import bytes_kept, layout_problem

_RECORDS: dict[str, dict[str, Any]] = {
    "text2text-generation": {"text_inputs": "the bridge over the river", "max_new_tokens": 8},
    "zero-shot-classification": {"sequences": "the bridge", "candidate_labels": ["music", "trains"]},
    "text-generation": {"inputs": "the bridge over the river", "parameters": {"max_new_tokens": 8, "do_sample": False}},
}
SAME, LOADS = "answers as the plain one", "loads"
_CHAT = {"messages": [{"role": "user", "content": "hi"}], "parameters": {"max_new_tokens": 4, "do_sample": False}}


@dataclass(frozen=True)
class Layout:
    """One way to pack a model: the changes to a plain folder, and the expected outcome."""

    name: str
    plain: tuple[str, str]  # task and family
    change: Callable[[Path], None]
    expected: str  # SAME, LOADS, or a part of the refusal
    task: str | None = None
    record: dict[str, Any] | None = None


def outcome(layout: Layout, folder: Path) -> tuple[str, str]:
    """Return `loaded` or `refused at registration` where that is expected, or another word, and the observation."""
    row = next(row for row in ROWS if (row.task, row.name) == layout.plain)
    plain = folder.with_name("plain")
    row.save(plain)
    shutil.copytree(plain, folder)
    layout.change(folder)
    registered = registration_problem(folder, layout.task)
    try:
        seen = _answer(folder, layout.task, layout.record)
    except REFUSALS as error:
        if layout.expected in (SAME, LOADS) or layout.expected not in str(error):
            return "REFUSED", str(error)
        return ("refused at registration", registered) if registered else ("REFUSED AT START ONLY", str(error))
    if "error" in seen or registered:
        return "FAILED", registered or seen["error"]
    if layout.expected == LOADS or (layout.expected == SAME and seen == _answer(plain, None, layout.record)):
        return "loaded", str(seen)
    return "LOADED", str(seen)


def registration_problem(folder: Path, task: str | None) -> str:
    """Return what registration says of a folder's files."""
    sizes: dict[str, int] = {}
    kept = KeptDocuments(bytes_kept)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name, content = path.relative_to(folder).as_posix(), path.read_bytes()
        sizes[name] = len(content)
        kept.begin(name, len(content))(content)
    return layout_problem(sizes, kept.contents, {"HF_TASK": task} if task else {})


def _answer(folder: Path, task: str | None, record: dict[str, Any] | None) -> dict[str, Any]:
    loaded = load(folder, task=task)
    line = json.dumps(record or _RECORDS[loaded.task]).encode()
    return dict(json.loads(Pipeline(task_for(loaded)).answer_lines([line]).lines[0]))


def _edit(name: str, *gone: str, **fields: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / name
        found = {**(json.loads(path.read_text()) if path.exists() else {}), **fields}
        path.write_text(json.dumps({key: value for key, value in found.items() if key not in gone}))

    return change


def _write(name: str, content: str | bytes = "x") -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    return change


def _gone(*names: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for name in names:
            (folder / name).unlink(missing_ok=True)

    return change


def _all(*changes: Callable[[Path], None]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for one in changes:
            one(folder)

    return change


def _weights(
    alter: Callable[[dict[str, Any]], dict[str, Any]], metadata: dict[str, str] | None = None
) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "model.safetensors"
        save_file(alter(load_file(path)), path, metadata={"format": "pt"} if metadata is None else metadata or None)

    return change


def _in(kind: torch.dtype) -> Callable[[Path], None]:
    return _weights(lambda found: {name: tensor.to(kind) for name, tensor in found.items()})


def _sharded(*, index: bool = True, missing: bool = False, consolidated: bool = False) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        found = load_file(folder / "model.safetensors")
        names = sorted(found)
        parts = [names[: len(names) // 2], names[len(names) // 2 :]]
        table: dict[str, str] = {}
        for number, part in enumerate(parts, start=1):
            file = f"model-{number:05}-of-00002.safetensors"
            table |= dict.fromkeys(part, file)
            save_file({name: found[name] for name in part}, folder / file, metadata={"format": "pt"})
        if consolidated:
            shutil.copy(folder / "model.safetensors", folder / "consolidated.safetensors")
        (folder / "model.safetensors").unlink()
        if index:
            _write("model.safetensors.index.json", json.dumps({"metadata": {"total_size": 1}, "weight_map": table}))(
                folder
            )
        if missing:
            (folder / "model-00002-of-00002.safetensors").unlink()

    return change


def _below(name: str, *more: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        files = list(folder.iterdir())
        for target in (name, *more):
            (folder / target).mkdir()
            for file in files:
                shutil.copy(file, folder / target)
        for file in files:
            file.unlink()

    return change


def _vocabulary(*, text: bool) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        model = json.loads((folder / "tokenizer.json").read_text())["model"]
        if text:
            (folder / "vocab.txt").write_text("\n".join(sorted(model["vocab"], key=model["vocab"].get)))
        else:
            (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
            (folder / "merges.txt").write_text(
                "\n".join(["#version: 0.2", *(" ".join(pair) for pair in model["merges"])])
            )
        (folder / "tokenizer.json").unlink()
        kind = "BertTokenizer" if text else "GPT2Tokenizer"
        _edit("tokenizer_config.json", "backend", tokenizer_class=kind)(folder)

    return change


def _template(place: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "chat_template.jinja"
        template = path.read_text()
        path.unlink()
        if place == "json":
            _edit("chat_template.json", chat_template=template)(folder)
        elif place == "list":
            _edit("tokenizer_config.json", chat_template=[{"name": "default", "template": template}])(folder)
        else:
            _edit("tokenizer_config.json", chat_template=template)(folder)

    return change


def _pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _marked(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_bytes(b"\xef\xbb\xbf" + (folder / name).read_bytes())

    return change


def _quantized(**fields: Any) -> Callable[[Path], None]:
    return _edit("config.json", quantization_config=fields)


T5, BART, LLAMA = ("text2text-generation", "t5"), ("text2text-generation", "bart"), ("text-generation", "llama")
GPT2, BERT, GEMMA = (
    ("text-generation", "gpt2"),
    ("zero-shot-classification", "bert"),
    ("text-generation", "gemma3-sliding"),
)
ROBERTA = ("zero-shot-classification", "roberta")
_ADAPTER = _all(_edit("adapter_config.json", peft_type="LORA", r=8, lora_alpha=8), _write("adapter_model.safetensors"))


def _defaults(said: str, plain: tuple[str, str] = T5, **fields: Any) -> Layout:
    return Layout(f"defaults {fields}", plain, _edit("generation_config.json", **fields), said)


LAYOUTS = [
    Layout("plain", T5, _all(), SAME),
    Layout("weights in float16", T5, _in(torch.float16), LOADS),
    Layout("weights in bfloat16", T5, _in(torch.bfloat16), LOADS),
    Layout("weights without metadata", T5, _weights(dict, {}), SAME),
    Layout("tied weights written out", T5, _weights(lambda found: {
        **found, **{f"{name}.weight": found["shared.weight"].clone() for name in
                    ("encoder.embed_tokens", "decoder.embed_tokens", "lm_head")}}), SAME),
    Layout("shared weight under another name", T5, _weights(lambda found: {
        "encoder.embed_tokens.weight" if name == "shared.weight" else name: one for name, one in found.items()}), SAME),
    Layout("old T5 with a bias that is not used", T5, _weights(lambda found: {
        **found, "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight": torch.zeros(32, 4)}), SAME),
    Layout("BART without final bias", BART, _weights(lambda found: {
        name: one for name, one in found.items() if "final_logits_bias" not in name}), SAME),
    Layout("BART saved without prefix", BART, _weights(lambda found: {
        name.removeprefix("model."): one for name, one in found.items()}), SAME),
    Layout("old RoBERTa with positions and a pooler", ROBERTA, _weights(lambda found: {
        **found, "roberta.embeddings.position_ids": torch.arange(130).unsqueeze(0),
        "roberta.pooler.dense.weight": torch.zeros(32, 32), "roberta.pooler.dense.bias": torch.zeros(32)}), SAME),
    Layout("old Llama with inverse frequencies", LLAMA, _weights(lambda found: {
        **found, "model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(4)}), SAME),
    Layout("Llama without lm_head", LLAMA, _weights(lambda found: {
        name: one for name, one in found.items() if name != "lm_head.weight"}), "lm_head.weight"),
    Layout("a layer is missing", LLAMA, _weights(lambda found: {
        name: one for name, one in found.items() if "layers.1.mlp.up_proj" not in name}), "layers.1.mlp.up_proj"),
    Layout("a tensor of another shape", T5, _edit("config.json", d_ff=128), "config.json makes it"),
    Layout("shards with an index", LLAMA, _sharded(), SAME),
    Layout("shards beside consolidated weights", LLAMA, _sharded(consolidated=True), SAME),
    Layout("shards without an index", LLAMA, _sharded(index=False), "weights do not load"),
    Layout("a shard is missing", LLAMA, _sharded(missing=True), "which is missing"),
    Layout("truncated weights", T5, _write("model.safetensors", b"\x10\x00"), "weights do not load"),
    Layout("pickled weights only", T5, _pickled, "Only safetensors weights"),
    Layout("pickled weights beside", T5, _write("pytorch_model.bin"), SAME),
    Layout("GGUF only", T5, _all(_gone("model.safetensors"), _write("model.gguf")), "Only safetensors weights"),
    Layout("other frameworks' files beside", T5, _all(_write("tf_model.h5"), _write("flax_model.msgpack"),
                                                      _write("onnx/model.onnx"), _write("README.md")), SAME),
    Layout("macOS files beside", T5, _all(_write("._model.safetensors"), _write(".DS_Store")), SAME),
    Layout("a trainer's checkpoint", T5, _all(_write("optimizer.pt"), _write("trainer_state.json", "{}"),
                                              _write("training_args.bin")), SAME),
    Layout("an older checkpoint inside", T5, _write("checkpoint-500/optimizer.pt"), SAME),
    Layout("in a folder below the top", T5, _below("model"), SAME),
    Layout("two models", T5, _below("first", "second"), "several folders have one"),
    Layout("no configuration", T5, _gone("config.json"), "config.json is missing"),
    Layout("code of a container", T5, _all(_write("code/inference.py"), _write("code/requirements.txt")), SAME),
    Layout("code beside the weights", T5, _write("modeling.py"), "code of its own"),
    Layout("auto_map", LLAMA, _edit("config.json", auto_map={"AutoModelForCausalLM": "modeling_x.X"}), "code of its own"),
    Layout("tokenizer.json alone", LLAMA, _gone("tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"), SAME),
    Layout("vocab.json and merges.txt", GPT2, _vocabulary(text=False), LOADS),
    Layout("vocab.txt", BERT, _vocabulary(text=True), LOADS),
    Layout("no tokenizer", LLAMA, _gone("tokenizer.json"), "tokenizer is missing"),
    Layout("tekken.json alone", LLAMA, _all(_gone("tokenizer.json"), _write("tekken.json", "{}")), "needs mistral-common"),
    Layout("chat template in the tokenizer's configuration", LLAMA, _template("configuration"), SAME, record=_CHAT),
    Layout("chat templates as a list", LLAMA, _template("list"), SAME, record=_CHAT),
    Layout("chat_template.json", LLAMA, _template("json"), SAME, record=_CHAT),
    Layout("chat_template.jinja", LLAMA, _all(), SAME, record=_CHAT),
    Layout("a configuration with a byte order mark", T5, _marked("generation_config.json"), SAME),
    Layout("broken defaults", T5, _write("generation_config.json", "{broken"), "generation_config.json can't be read"),
    Layout("a broken configuration", T5, _write("config.json", "{broken"), "config.json can't be read"),
    Layout("no architectures", T5, _edit("config.json", "architectures"), "do not tell"),
    Layout("no architectures, the task named", T5, _edit("config.json", "architectures"), SAME, "summarization"),
    Layout("T5WithLMHeadModel", T5, _edit("config.json", architectures=["T5WithLMHeadModel"]), SAME),
    Layout("an encoder alone", T5, _edit("config.json", architectures=["T5EncoderModel"]), "do not tell"),
    Layout("no model_type", T5, _edit("config.json", "model_type"), "do"),
    Layout("an unknown model_type", LLAMA, _edit("config.json", model_type="llama9", architectures=["Llama9ForCausalLM"]),
           "weights do not load"),
    Layout("id2label alone", BERT, _edit("config.json", "label2id"), SAME),
    Layout("label2id alone", BERT, _edit("config.json", "id2label"), SAME),
    Layout("a task that there is not", BERT, _all(), "is not a task of this pipeline", "text-classification"),
    Layout("summarization by a decoder", LLAMA, _all(), "weights do not load", "summarization"),
    Layout("labels by T5", T5, _all(), "weights do not", "zero-shot-classification"),
    Layout("no cache", LLAMA, _edit("config.json", use_cache=False), SAME),
    Layout("bitsandbytes", LLAMA, _quantized(quant_method="bitsandbytes", load_in_4bit=True), "weights do not load"),
    Layout("GPTQ", LLAMA, _quantized(quant_method="gptq", bits=4, group_size=128), "weights do not load"),
    Layout("AWQ", LLAMA, _quantized(quant_method="awq", bits=4, group_size=128, zero_point=True), "weights do not load"),
    Layout("compressed tensors", LLAMA, _quantized(quant_method="compressed-tensors", format="pack-quantized",
                                                   config_groups={}), "weights do not load"),
    Layout("an adapter without its base", LLAMA, _ADAPTER, "bound to no base"),
    Layout("no defaults", T5, _gone("generation_config.json"), LOADS),
    _defaults("num_beam_groups asks for a search", num_beams=4, num_beam_groups=2, diversity_penalty=0.5),
    _defaults("temperature must be above 0", LLAMA, do_sample=True, temperature=0.0),
    _defaults("top_k must be", LLAMA, do_sample=True, top_k=-1),
    _defaults(SAME, LLAMA, temperature=0.0),
    _defaults(SAME, LLAMA, max_new_tokens=100_000),
    _defaults("penalty_alpha asks for a search", LLAMA, penalty_alpha=0.6, top_k=4),
    _defaults("num_return_sequences is 3", num_return_sequences=3),
]  # fmt: skip
