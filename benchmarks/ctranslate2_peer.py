"""CTranslate2 behind a pipe, for benchmarks.inference: a request a line, [texts, CPU seconds, seconds] back.

Runs in an environment of its own; only the conversion takes transformers from the caller's.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import ctranslate2


def main(folder: Path) -> None:
    """Answer until the pipe closes."""
    places = json.loads((folder / "model" / "tokenizer.json").read_text())["model"]["vocab"]
    words = {place: word for word, place in places.items()}
    translators: dict[str, Any] = {}
    for kind in ("float32", "int8"):
        target = folder / f"model-{kind}"
        if not target.exists():
            converter = ctranslate2.converters.TransformersConverter(str(folder / "model"))
            converter.convert(str(target), quantization=kind)
        translators[kind] = ctranslate2.Translator(
            str(target), device="cpu", inter_threads=1, intra_threads=1, compute_type=kind
        )
    print("ready", flush=True)
    for line in sys.stdin:
        kind, beams, least, most, articles = json.loads(line)
        texts = [[words[token] for token in article] for article in articles]
        passed, begun = time.perf_counter(), time.process_time()
        found = translators[kind].translate_batch(
            texts, max_batch_size=2_048, batch_type="tokens", beam_size=beams, max_decoding_length=most,
            min_decoding_length=least, max_input_length=0,
        )  # fmt: skip
        spent, passed = time.process_time() - begun, time.perf_counter() - passed
        print(json.dumps([[[places[word] for word in one.hypotheses[0]] for one in found], spent, passed]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
