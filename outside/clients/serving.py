"""Server processes for the clients: a decoder, and one model that summarises and translates."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import T5Config, T5ForConditionalGeneration

from tests.inference.llamas import byte_tokenizer, llama

READY_SECONDS, END_SECONDS = 600, 30


@contextmanager
def served(scratch: Path) -> Iterator[dict[str, str]]:
    """The servers' addresses, by the name of the variable that clients read."""
    decoder, texts = llama(scratch / "decoder"), _text_to_text(scratch / "texts")
    wanted = {
        "DECODER": (decoder, "text-generation"),
        "SUMMARIES": (texts, "summarization"),
        "TRANSLATIONS": (texts, "translation_en_to_de"),
    }
    processes: list[subprocess.Popen[bytes]] = []
    addresses = {}
    try:
        for name, (folder, task) in wanted.items():
            port = _free_port()
            command = [sys.executable, "-m", "inference", "serve", "--unverified", "--host", "127.0.0.1"]
            options = ["--model-dir", str(folder), "--port", str(port), "--task", task]
            processes.append(subprocess.Popen([*command, *options], env={**os.environ, "LOG_LEVEL": "WARNING"}))
            addresses[name] = f"http://127.0.0.1:{port}"
        for address, process in zip(addresses.values(), processes, strict=True):
            _wait(address, process)
        yield addresses
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(END_SECONDS)


def _text_to_text(folder: Path) -> Path:
    tokenizer = byte_tokenizer()
    torch.manual_seed(1)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4, decoder_start_token_id=0,
        pad_token_id=2, eos_token_id=1, tie_word_embeddings=False, initializer_factor=2.0,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config)
    with torch.no_grad():
        for token in (0, 1, 2):
            model.lm_head.weight[token] = 0
    model.generation_config.max_new_tokens = 8
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _wait(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/ping", timeout=5) as answer:
                if answer.status == 200:
                    return
        except (OSError, urllib.error.HTTPError):
            pass
        time.sleep(0.2)
    raise RuntimeError(f"the server at {address} is not ready")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
