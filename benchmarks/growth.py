"""Measure the inference server's memory growth: after 100,000 requests against after 20,000.

Writes build/bench/growth.json: `growth` (resident memory of all the server's processes at the last request over that at a fifth
of them; with --long the last is the 100,000th, else the 10,000th), `rss_mb` by requests, and `wrong` (answers that were not
what the request asks for); and docs/benchmarks/growth.md. The server is the command in a process of its own; its model is as
small as one can be, so that a request costs little beside what the server itself does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from transformers import T5Config, T5ForConditionalGeneration
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from benchmarks import tables
from benchmarks.realtime import WORDS, answer, ours, served
from examples.training import END, PAD, UNKNOWN, tokenizer_of

ROOT = Path(__file__).resolve().parent.parent
REQUESTS, REQUESTS_LONG = 10_000, 100_000
CLIENTS = 8
LOOKS = 10
# A client connects anew after so many requests; every hundredth of them asks for something that is refused.
KEPT, REFUSED = 500, 100
GOAL = 1.05
_HEAD = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


def main(long: bool = False) -> dict[str, Any]:
    """Measure, write the JSON and the table, and return the figures."""
    set_verbosity_error()
    disable_progress_bar()
    total, load = REQUESTS_LONG if long else REQUESTS, os.getloadavg()[0]
    statuses: Counter[int] = Counter()
    memory: dict[int, float] = {}
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch, served(ours(smallest(Path(scratch) / "t5"))) as (port, _, group):
        for look in range(1, LOOKS + 1):
            asyncio.run(crowd(port, total // LOOKS, seed=look, statuses=statuses))
            memory[total // LOOKS * look] = resident_mb(group)
            print(f"  {total // LOOKS * look}: {resident_mb(group):.1f} MB", flush=True)
    figures = {
        "requests": total,
        "growth": round(memory[total] / memory[total // 5], 3),
        "rss_mb": {str(count): round(found, 1) for count, found in memory.items()},
        "wrong": total - statuses[200] - statuses[400],
        "seconds": round(time.monotonic() - begun),
    }
    target = ROOT / "build" / "bench" / "growth.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(figures, indent=1) + "\n")
    tables.write(
        "growth",
        "Growth of the inference server",
        "`make bench-long` sends 100,000 requests, `make bench` 10,000.",
        [
            (f"Resident memory after {total:,} requests over that after {total // 5:,}", f"{figures['growth']:.3f}",
             f"at most {GOAL}", f"{memory[total]:.0f} MB; {memory[total // LOOKS]:.0f} MB after {total // LOOKS:,}"),
            ("Requests without their answer", str(figures["wrong"]), "0",
             f"{CLIENTS} clients, {total // REFUSED:,} requests that are refused, {total // KEPT:,} connections"),
        ],
        load=load,
    )  # fmt: skip
    return figures


def smallest(folder: Path) -> Path:
    """Make a T5 of random weights that generates one token."""
    tokenizer = tokenizer_of([" ".join(WORDS)] * 3, size=100, specials=(PAD, END, UNKNOWN), single=f"$A {END}")
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(
        T5Config(
            vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_decoder_layers=1, num_heads=2,
            decoder_start_token_id=0, pad_token_id=0, eos_token_id=1, dropout_rate=0.0, tie_word_embeddings=False,
        )
    )  # fmt: skip
    model.generation_config.max_new_tokens = 1
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


async def crowd(port: int, requests: int, *, seed: int, statuses: Counter[int]) -> None:
    """Send requests of all lengths by several clients at once, and count the answers."""
    drawn = random.Random(seed)
    left = iter(range(requests))

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        sent = 0
        for number in left:
            if sent == KEPT:
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                sent = 0
            record: dict[str, Any] = {"inputs": f"{number} " + " ".join(drawn.choices(WORDS, k=drawn.randint(1, 40)))}
            if number % REFUSED == 0:
                record["parameters"] = {"top_p": 2}
            content = json.dumps(record).encode()
            writer.write(_HEAD % len(content) + content)
            status, _ = await answer(reader)
            statuses[status] += status == (400 if number % REFUSED == 0 else 200)
            sent += 1
        writer.close()

    await asyncio.gather(*(client() for _ in range(CLIENTS)))


def resident_mb(group: int) -> float:
    """Resident memory of all processes of a group."""
    found = 0
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = entry.read_text().rpartition(")")[2].split()
            found += int(fields[21]) if int(fields[2]) == group else 0
    return found * os.sysconf("SC_PAGE_SIZE") / 1e6
