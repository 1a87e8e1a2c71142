"""A peer in an environment of its own: it reads work as a line of JSON, and answers with its results and CPU seconds.

`container` is SageMaker's Hugging Face container without its web server: the handler of its inference toolkit, which gets one
request a text. `onnx` is ONNX Runtime through optimum, on texts sorted by length.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

TASKS = {"texts": "text2text-generation", "pairs": "zero-shot-classification", "continuations": "text-generation"}
# Padded tokens in one of ONNX Runtime's batches.
BATCH_TOKENS = 2_048
Work = dict[str, Any]
Answer = Callable[[Work], list[Any]]


def container(folder: str, kind: str) -> Answer:
    """Make a function that sends each request to the toolkit's handler and returns a text, or a label's score."""
    os.environ["HF_TASK"] = TASKS[kind]
    from sagemaker_huggingface_inference_toolkit.handler_service import HuggingFaceHandlerService

    handler = HuggingFaceHandlerService()
    headers = {"content-type": "application/json", "accept": "application/json"}
    context = SimpleNamespace(
        system_properties={"model_dir": folder, "batch_size": 1},
        request_processor=[SimpleNamespace(get_request_properties=lambda: headers)],
        metrics=SimpleNamespace(add_time=lambda *_: None),
        set_response_content_type=lambda *_: None,
    )
    handler.initialize(context)

    def answer(work: Work) -> list[Any]:
        said = []
        for request in work["requests"]:
            found = json.loads(handler.handle([{"body": json.dumps(request).encode()}], context)[0])
            said.append(found["scores"][0] if kind == "pairs" else found[0]["generated_text"])
        return said

    return answer


def onnx(folder: str, kind: str) -> Answer:
    """Make a function that returns each row's new tokens, or its class logits."""
    import onnxruntime
    import torch
    from optimum import onnxruntime as models

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    named = {"texts": "Seq2SeqLM", "pairs": "SequenceClassification", "continuations": "CausalLM"}[kind]
    model = getattr(models, f"ORTModelFor{named}").from_pretrained(folder, export=True, session_options=options)
    end, pad = model.config.eos_token_id, model.config.pad_token_id
    left = kind == "continuations"

    def batch(rows: list[list[int]]) -> dict[str, Any]:
        width = max(map(len, rows))
        spare = [[pad] * (width - len(row)) for row in rows]
        tokens = [[*none, *row] if left else [*row, *none] for none, row in zip(spare, rows, strict=True)]
        ones = [[1] * len(row) for row in rows]
        zeros = [[0] * len(none) for none in spare]
        mask = [[*no, *yes] if left else [*yes, *no] for no, yes in zip(zeros, ones, strict=True)]
        return {"input_ids": torch.tensor(tokens), "attention_mask": torch.tensor(mask)}

    def answer(work: Work) -> list[Any]:
        rows: list[list[int]] = work["rows"]
        said: list[Any] = [None] * len(rows)
        for places in batches([len(row) for row in rows]):
            given = batch([rows[place] for place in places])
            if kind == "pairs":
                found = model(**given).logits.tolist()
            else:
                output = model.generate(**given, max_new_tokens=work["most"], do_sample=False, num_beams=1)
                begin = given["input_ids"].shape[1] if left else 1
                found = [row[: row.index(end)] if end in row else row for row in output[:, begin:].tolist()]
            for place, one in zip(places, found, strict=True):
                said[place] = one
        return said

    return answer


def batches(lengths: list[int]) -> Iterator[list[int]]:
    """Yield indices by length, longest first, within the budget of padded tokens."""
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def main() -> None:
    """Open the model, then answer line by line; libraries print to stderr."""
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    peer, folder, kind = sys.argv[1:]
    import torch
    import transformers

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    answer = {"container": container, "onnx": onnx}[peer](folder, kind)
    print(json.dumps({"transformers": transformers.__version__, "torch": torch.__version__}), file=output, flush=True)
    for line in sys.stdin:
        begun = time.process_time()
        said = answer(json.loads(line))
        spent = time.process_time() - begun
        print(json.dumps({"seconds": spent, "said": said, "memory_mb": _peak_mb()}), file=output, flush=True)


def _peak_mb() -> int:
    """Return this process's own peak memory; the figure of getrusage begins with that of the parent."""
    status = Path("/proc/self/status")
    peak = (
        next((line for line in status.read_text().splitlines() if line.startswith("VmHWM")), "")
        if status.exists()
        else ""
    )
    return int(peak.split()[1]) // 1_024 if peak else 0


if __name__ == "__main__":
    main()
