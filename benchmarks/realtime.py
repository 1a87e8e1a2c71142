"""Measure real-time serving with shared batches: throughput, latency, time to the first token, lost requests.

Writes build/bench/realtime.json: `server_speedup` (32 clients against one that asks again and again), `litserve_ratio`
(throughput over LitServe's on the same model, engine and clients, in turns; `litserve_ratio_alike` where all texts may be
equally long), `p99_ms` (at 32 clients), `ready_s` (from start to /ping), `ttft_ms` (median at 8 streams) and `clients_lost`
(of 1,000 at once); and docs/benchmarks/realtime.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from benchmarks import tables
from benchmarks.serving import machine
from examples.training import END, PAD, UNKNOWN, tokenizer_of
from inference.serving.serve import _allow_connections

ROOT = Path(__file__).resolve().parent.parent
CLIENTS, CROWD, STREAMS = 32, 1_000, 8
ROUNDS = 5
STREAM_TOKENS = 48
# The most tokens of an answer, by request: clients ask for short and long answers side by side.
LENGTHS = (4, 24, 8, 40, 12, 64, 6, 16)
ALIKE = 24
_SENTENCE = "the quick brown fox jumps over a lazy dog while nobody at all looks on and the weather stays fine today"
WORDS = _SENTENCE.split()
READY_SECONDS = 120


@dataclass(slots=True)
class Seen:
    """Measurements of a number of concurrent clients."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    lost: int = 0
    wall: float = 0.0
    cpu: float = 0.0  # of the server and all its processes

    @property
    def rate(self) -> float:
        return self.statuses[200] / self.wall

    def percentile_ms(self, percent: int) -> float:
        ordered = sorted(self.seconds)
        return round(ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] * 1_000, 1)


def main(long: bool = False) -> dict[str, Any]:
    """Measure, write the JSON and the table, and return the figures."""
    set_verbosity_error()
    disable_progress_bar()
    _allow_connections()
    each = 40 if long else 8
    figures: dict[str, Any] = {"machine": machine(), "load_average": round(os.getloadavg()[0], 2), "clients": CLIENTS}
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        texts = text_to_text(place / "t5")
        with served(ours(texts)) as (port, ready, group):
            figures["ready_s"] = round(ready, 2)
            peer = peer_python(ROOT / "build" / "bench" / "litserve")
            with served(theirs(peer, texts) if peer else None) as (other, _, peers):
                figures |= turns(port, other, each, {port: group, other: peers})
            figures |= crowd(port)
        with served(ours(decoder(place / "llama"))) as (port, _, _):
            figures |= streams(port)
    target = ROOT / "build" / "bench" / "realtime.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(figures, indent=1) + "\n")
    (ROOT / "docs" / "benchmarks" / "realtime.md").write_text(page(figures), encoding="utf-8")
    return figures


def turns(port: int, other: int | None, each: int, groups: dict[Any, int]) -> dict[str, Any]:
    """One client, then many, then LitServe's many, in turns and each round the other way round.

    Who works beside us comes and goes: what is told is the middle of the rounds' ratios, not the best of each side.
    """
    found: dict[str, list[Seen]] = {}
    asks: list[tuple[str, Callable[[], Seen]]] = [
        ("one", lambda: metered(groups[port], asked(port, 1, each * 4))),
        ("many", lambda: metered(groups[port], asked(port, CLIENTS, each))),
        ("alike", lambda: metered(groups[port], asked(port, CLIENTS, each, alike=True))),
    ]
    if other:
        asks[2:2] = [("litserve", lambda: metered(groups[other], asked(other, CLIENTS, each)))]
        asks += [("litserve_alike", lambda: metered(groups[other], asked(other, CLIENTS, each, alike=True)))]
        asyncio.run(asked(other, CLIENTS, 2))
    asyncio.run(asked(port, CLIENTS, 2))
    for turn in range(ROUNDS):
        for name, ask in asks if turn % 2 == 0 else reversed(asks):
            found.setdefault(name, []).append(ask())
    ours = [seen for name in ("one", "many", "alike") for seen in found[name]]
    assert all(set(seen.statuses) == {200} and not seen.lost for seen in ours), "somebody was not answered"
    figures: dict[str, Any] = {"server_speedup": _ratio(found["many"], found["one"])}
    for name, rounds in found.items():
        figures[f"requests_per_s_{name}"] = round(statistics.median(seen.rate for seen in rounds), 1)
        figures[f"cpu_ms_{name}"] = round(statistics.median(one.cpu / one.statuses[200] for one in rounds) * 1_000, 2)
        for percent in (50, 99):
            figures[f"p{percent}_ms_{name}"] = round(statistics.median(one.percentile_ms(percent) for one in rounds), 1)
    figures["p99_ms"] = figures["p99_ms_many"]
    if other:
        figures["litserve_ratio"] = _ratio(found["many"], found["litserve"])
        figures["litserve_ratio_alike"] = _ratio(found["alike"], found["litserve_alike"])
        theirs_all = [*found["litserve"], *found["litserve_alike"]]
        figures["litserve_lost"] = sum(seen.lost + seen.statuses.total() - seen.statuses[200] for seen in theirs_all)
    return figures


def metered(group: int, asking: Coroutine[Any, Any, Seen]) -> Seen:
    """Measure the server's CPU time too: other load on this machine changes it less than the wall time."""
    before = cpu_seconds(group)
    seen = asyncio.run(asking)
    seen.cpu = cpu_seconds(group) - before
    return seen


def cpu_seconds(group: int) -> float:
    """CPU time of all processes of a group so far."""
    ticks = 0
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = entry.read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12]) if int(fields[2]) == group else 0
    return ticks / os.sysconf("SC_CLK_TCK")


def _ratio(these: Sequence[Seen], those: Sequence[Seen]) -> float:
    return round(statistics.median(one.rate / other.rate for one, other in zip(these, those, strict=True)), 2)


def crowd(port: int) -> dict[str, Any]:
    """A thousand clients connect, and all ask at the same moment."""
    seen = asyncio.run(asked(port, CROWD, 1, together=True))
    return {
        "crowd": CROWD,
        "crowd_answered": seen.statuses[200],
        "crowd_told_to_come_again": seen.statuses[429],
        "crowd_p99_ms": seen.percentile_ms(99),
        "clients_lost": seen.lost + CROWD - seen.lost - seen.statuses[200] - seen.statuses[429],
    }


def streams(port: int) -> dict[str, Any]:
    """Time to the first token of streams, alone and together."""
    asyncio.run(asked(port, 2, 1, stream=True))
    alone = asyncio.run(asked(port, 1, 10, stream=True))
    together = asyncio.run(asked(port, STREAMS, 5, stream=True))
    return {
        "ttft_ms": round(statistics.median(together.first) * 1_000, 1),
        "ttft_p99_ms": round(sorted(together.first)[-1] * 1_000, 1),
        "ttft_ms_one_stream": round(statistics.median(alone.first) * 1_000, 1),
        "tokens_per_s_one_stream": round(STREAM_TOKENS / statistics.median(alone.seconds), 1),
        "tokens_per_s_together": round(together.statuses[200] * STREAM_TOKENS / together.wall, 1),
    }


def body(number: int, stream: bool, alike: bool = False) -> bytes:
    words = " ".join(WORDS[(number * 7 + place) % len(WORDS)] for place in range(12 + number % 9))
    most = STREAM_TOKENS if stream else ALIKE if alike else LENGTHS[(number * 5 + number // 7) % len(LENGTHS)]
    record: dict[str, Any] = {"inputs": f"{number} {words}", "parameters": {"max_new_tokens": most}}
    if stream:
        record["stream"] = True
    return json.dumps(record).encode()


async def asked(
    port: int, clients: int, each: int, *, stream: bool = False, together: bool = False, alike: bool = False
) -> Seen:
    """`clients` connections, each with `each` requests one after the other; with `together`, none before all are connected."""
    seen, connected = Seen(), asyncio.Event()
    waiting = clients if together else 0
    begun = time.perf_counter()

    async def client(place: int) -> None:
        nonlocal waiting, begun
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            seen.lost += each
            waiting -= 1
            return
        if together:
            waiting -= 1
            if waiting == 0:
                begun = time.perf_counter()
                connected.set()
            await connected.wait()
        for number in range(each):
            content = body(place * each + number, stream, alike)
            head = (
                b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            )
            started = time.perf_counter()
            try:
                writer.write(head % len(content) + content)
                status, first = await answer(reader)
            except (OSError, asyncio.IncompleteReadError, ValueError):
                seen.lost += 1
                break
            seen.statuses[status] += 1
            seen.seconds.append(time.perf_counter() - started)
            if first is not None:
                seen.first.append(first - started)
        writer.close()

    await asyncio.gather(*(client(place) for place in range(clients)))
    seen.wall = time.perf_counter() - begun
    return seen


async def answer(reader: asyncio.StreamReader) -> tuple[int, float | None]:
    """The status of one answer, read to its end; and for a stream when its first event came."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = int(head.split(b" ", 2)[1])
    if b"transfer-encoding: chunked" not in head:
        await reader.readexactly(int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]))
        return status, None
    first = None
    while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
        await reader.readexactly(size + 2)
        first = first or time.perf_counter()
    await reader.readexactly(2)
    return status, first


def text_to_text(folder: Path) -> Path:
    """A T5 of random weights whose texts differ and end at different steps."""
    tokenizer = tokenizer_of([" ".join(WORDS)] * 3, size=200, specials=(PAD, END, UNKNOWN), single=f"$A {END}")
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(
        T5Config(
            vocab_size=len(tokenizer), d_model=256, d_kv=64, d_ff=1024, num_layers=3, num_decoder_layers=3, num_heads=4,
            feed_forward_proj="gated-gelu", decoder_start_token_id=0, pad_token_id=0, eos_token_id=1, dropout_rate=0.0,
            tie_word_embeddings=False, initializer_factor=2.0,
        )
    )  # fmt: skip
    with torch.no_grad():
        model.lm_head.weight[0] = 0
    model.generation_config.max_new_tokens = 24
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def decoder(folder: Path) -> Path:
    """A Llama of random weights that never ends a text by itself."""
    tokenizer = tokenizer_of([" ".join(WORDS)] * 3, size=200, specials=(PAD, END, UNKNOWN), single="$A")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=256, intermediate_size=688, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=512, bos_token_id=1, eos_token_id=1, pad_token_id=0,
        tie_word_embeddings=False,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.lm_head.weight[1] = 0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


Command = Callable[[int], Sequence[str]]


def ours(folder: Path) -> Command:
    module = [sys.executable, "-m", "inference", "serve", "--unverified", "--model-dir", str(folder)]
    return lambda port: [*module, "--host", "127.0.0.1", "--port", str(port)]


def theirs(python: Path, folder: Path) -> Command:
    return lambda port: [str(python), str(ROOT / "benchmarks" / "litserve_peer.py"), str(folder), str(port)]


def peer_python(home: Path) -> Path | None:
    """LitServe in an environment of its own; None where it can't be installed, and its figures stay out then."""
    python = home / "bin" / "python"
    try:
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        if subprocess.run([str(python), "-c", "import litserve"], capture_output=True, check=False).returncode:
            wanted = str(ROOT / "benchmarks" / "requirements.txt")
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", "-r", wanted], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"  LitServe is left out: {error}", file=sys.stderr)
        return None
    return python


@contextmanager
def served(command: Command | None) -> Iterator[tuple[Any, float, int]]:
    """A server's port, the seconds until it was ready, and its process group; no port where there is no command."""
    if command is None:
        yield None, 0.0, 0
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    paths = os.pathsep.join([str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))])
    begun = time.perf_counter()
    process = subprocess.Popen(
        command(port), cwd=ROOT, start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "LOG_LEVEL": "ERROR", "CALLERS_PATHS": paths},
    )  # fmt: skip
    try:
        while not _pings(port):
            if process.poll() is not None or time.perf_counter() - begun > READY_SECONDS:
                raise RuntimeError(f"not ready: {command(port)}")
            time.sleep(0.05)
        yield port, time.perf_counter() - begun, process.pid
    finally:
        # Its workers too: the group is this server's own.
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _pings(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as line:
            line.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return line.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def page(figures: dict[str, Any]) -> str:
    """The table, as it is committed."""
    found = figures["machine"]

    def peer(ratio: str, ours: str, theirs: str) -> tuple[str, str]:
        if ratio not in figures:
            return "not installed", ""
        each = [
            f"{figures[f'requests_per_s_{name}']:.0f} requests/s, p99 {figures[f'p99_ms_{name}']:.0f} ms, "
            f"{figures[f'cpu_ms_{name}']:.1f} ms of CPU time each"
            for name in (ours, theirs)
        ]
        return f"{figures[ratio]:.2f} ×", f"{each[0]}; LitServe {each[1]}"

    ratio, besides = peer("litserve_ratio", "many", "litserve")
    ratio_alike, besides_alike = peer("litserve_ratio_alike", "alike", "litserve_alike")
    rows = [
        (f"{CLIENTS} clients against one that asks again and again", f"{figures['server_speedup']:.2f} ×", "at least 5",
         f"{figures['requests_per_s_many']:.0f} requests/s against {figures['requests_per_s_one']:.0f}"),
        ("The same, over LitServe with the same model, engine and clients", ratio, "at least 1", besides),
        (f"The same where every answer may have {ALIKE} tokens", ratio_alike, "reported", besides_alike),
        (f"p99 at {CLIENTS} clients", f"{figures['p99_ms']:.0f} ms", "reported",
         f"p50 {figures['p50_ms_many']:.0f} ms; one client alone: {figures['p50_ms_one']:.0f} ms"),
        (f"{CROWD:,} clients at the same moment: lost", f"{figures['clients_lost']}", "0",
         f"{figures['crowd_answered']} answered, {figures['crowd_told_to_come_again']} told to come again; "
         f"p99 {figures['crowd_p99_ms']:.0f} ms"),
        (f"First token, median of {STREAMS} streams at once", f"{figures['ttft_ms']:.0f} ms", "reported",
         f"slowest {figures['ttft_p99_ms']:.0f} ms; one stream alone {figures['ttft_ms_one_stream']:.0f} ms"),
        (f"Tokens a second, {STREAMS} streams", f"{figures['tokens_per_s_together']:.0f}", "",
         f"one stream {figures['tokens_per_s_one_stream']:.0f}"),
        ("From start to /ping", f"{figures['ready_s']:.1f} s", "reported", "Python, torch and the model"),
    ]  # fmt: skip
    lines = [
        "# Real time", "",
        "Written by `python -m benchmarks realtime`. What the server does is in [realtime.md](../realtime.md).", "",
        tables.table(rows), "",
        f"A T5 of 3 and 3 layers, width 256, random weights, {', '.join(map(str, sorted(LENGTHS)))} tokens out at most, side by "
        f"side; for streams a Llama of 4 layers, width 256, {STREAM_TOKENS} tokens out. One torch thread for each server, "
        f"as many rows a step for both, clients in a process of their own. {ROUNDS} rounds in turns, and the middle of their "
        "ratios: LitServe computes a batch to the end of its longest text, here others join meanwhile. "
        f"Load of the machine when it began: {figures['load_average']}; others' work makes these figures worse, never better.",
        "",
        f"Device {found['device']}, {found['cores']} cores, {', '.join(found['cpu_flags']) or 'no vector flags'}; "
        f"torch {found['torch']}, transformers {found['transformers']}, Python {found['python']}.", "",
    ]  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    print(json.dumps(main("--long" in sys.argv[1:]), indent=1))
