"""Measure the display of evidence: composing a mail in a fresh process, drawing pictures, a board of 1,000 groups.

Writes build/bench/evidence.json: `mail_render_s` (the first mail of a process, imports included), `mail_warm_s`, `mail_peak_mb`
(resident memory of the function's process at most), `mail_bytes` (HTML), `mail_foreign_sources` (what a reader's program would
fetch from other sites), `mail_words`, `screenshots`, `axe_violations`, `pictures_s` (the first of a process, matplotlib's
import included), `board_1000_ms` (the best of nine). Where others have the machine too, `pictures_cpu_s`, `mail_cpu_s` and
`board_1000_cpu_ms` are the process's own time.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from benchmarks import tables

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks" / "evidence.md"
GROUPS = 1_000
METRICS = 60
REPEATS = 9
WIDTHS = (360, 390, 1280)
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)


def draw(folder: Path) -> dict[str, float]:
    """Measure the drawing of a run's two pictures: every metric of a text, and 2,000 latencies."""
    from inference.records.counts import Latencies
    from inference.scoring import metrics as measures

    begun = time.perf_counter()
    from inference.scoring import plots

    names = ("rouge1", "rouge2", "rougeL", "rougeLsum", "exact_match", "chrf", "bleu")
    estimates = {name: measures.Estimate(value=0.5, low=0.45, high=0.55, n=600) for name in names}
    latencies = Latencies()
    for step in range(2_000):
        latencies.add(0.02 + step * 7919 % 400 / 1000)
    bounds = [plots.Bound("rouge1", 0.5, None), plots.Bound("rouge2", 0.5, 0.9)]
    plots.draw_metrics(folder / "metrics.png", "bench v2 in dev, 600 records", estimates, bounds, {"rouge1": 0.51})
    plots.draw_latency(folder / "latency.png", latencies)
    return {"pictures_s": time.perf_counter() - begun, "pictures_cpu_s": round(time.process_time(), 3)}


def compose_mail(pictures: Path) -> dict[str, Any]:
    """The mail about a run, in this process, which must be a fresh one: seconds, resident memory, bytes."""
    begun, before = time.perf_counter(), time.process_time()
    from promotion.rendering.mail import compose, mime

    made, cpu = time.perf_counter() - begun, time.process_time() - before
    from msgspec.structs import replace

    import lambdas.handlers.on_projection_due  # noqa: F401 - the rest of the function, for its memory
    from promotion.domain.model import Metric
    from tests.rules import scenario

    story = scenario.Scenario()
    story.promotes(1, 0.7, to="prod")
    many = {f"metric_{n}": Metric(value=0.5, low=0.4, high=0.6, n=600) for n in range(METRICS)}
    names = tuple(f"s3://evidence/{path.name}" for path in sorted(pictures.glob("*.png")))
    evidence = scenario.measured(0.41, run_id="bench")
    heavy = replace(evidence, metrics={**evidence.metrics, **many}, pictures=names)
    story.registers(2, description="Summaries of <b>harbour</b> logs, עברית 中文 🙂. " * 2_500)
    story.decides("dev", 2)
    story.runs("dev", 2, heavy)
    event = [event for event in story.events if event.kind == "Approval Requested"][-1]
    spent: list[float] = []
    html, raw = "", b""
    for _ in range(REPEATS):
        begun, before = time.perf_counter(), time.process_time()
        message, *_ = compose(
            event, view=story.view, config=story.config, links=scenario.LINKS,
            picture=lambda uri: (pictures / uri.rpartition("/")[2]).read_bytes(),
        )  # fmt: skip
        raw = mime(message, story.config.mail.sender)
        spent.append(time.perf_counter() - begun)
        cpu += time.process_time() - before if len(spent) == 1 else 0
        html = message.html
    foreign = re.findall(r'(?:src="|url\()\s*(?!cid:|data:)[^")]+', html)
    return {
        "mail_render_s": round(made + spent[0], 3),
        "mail_cpu_s": round(cpu, 3),
        "mail_warm_s": round(statistics.median(spent[1:]), 4),
        "mail_peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "mail_bytes": len(html.encode()),
        "mail_raw_bytes": len(raw),
        "mail_foreign_sources": len(foreign),
    }


def board() -> dict[str, float]:
    """Milliseconds to filter and render a board of 1,000 groups by four environments, besides AWS calls."""
    from promotion.domain.model import EnvironmentState
    from promotion.rendering import pages
    from promotion.rendering.documents.board import board_document
    from promotion.rendering.documents.board_filter import BoardFilter
    from tests.rules import scenario

    states = [
        EnvironmentState(
            group=f"model-{group:04d}",
            name=name,
            live=group % 9 + 1,
            live_since=NOW - timedelta(hours=group),
            live_by=("Ann Adler",),
            pending=group % 9 + 2 if group % 5 == 0 else None,
            pending_since=NOW - timedelta(hours=3) if group % 5 == 0 else None,
            pending_expires_at=NOW + timedelta(hours=60) if group % 5 == 0 else None,
            pending_id=f"model-{group:04d}:{group % 9 + 2}:{name}:1" if group % 5 == 0 else "",
            pending_gates_open=group % 10 == 0,
            drift=group % 50 == 0,
        )
        for group in range(GROUPS)
        for name in scenario.CONFIG.environment_names
    ]
    wanted = BoardFilter(q="model", sort="newest")
    spent: list[float] = []
    used: list[float] = []
    size = 0
    for _ in range(REPEATS):
        begun, before = time.perf_counter(), time.process_time()
        document = board_document(
            states, scenario.ANN, scenario.CONFIG, links=scenario.LINKS, now=NOW, csrf="t", wanted=wanted
        )
        size = len(pages.render("board", document, person=scenario.ANN).encode())
        spent.append((time.perf_counter() - begun) * 1000)
        used.append((time.process_time() - before) * 1000)
    return {
        "board_1000_ms": round(min(spent), 1),
        "board_1000_cpu_ms": round(min(used), 1),
        "board_1000_bytes": size,
    }


def mail_words() -> int:
    """Words of the mail on passed gates, its head and addresses left out; 428 before it was cut to five facts."""
    text = (ROOT / "tests" / "snapshots" / "mails" / "metrics-open.txt").read_text(encoding="utf-8")
    return len(re.sub(r"https?://\S+", "", text.split("\n\n", 1)[1]).split())


def looks() -> dict[str, int]:
    """Every page and mail of the tests in a browser, at three widths, light and dark: pictures, and what axe-core finds."""
    from playwright.sync_api import sync_playwright

    from promotion.rendering import pages
    from tests.rules import scenarios

    axe = (ROOT / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
    kept = ROOT / "build" / "screenshots"
    kept.mkdir(parents=True, exist_ok=True)
    found = {"screenshots": 0, "axe_violations": 0, "too_wide": 0}
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        mails = (ROOT / "tests" / "snapshots" / "mails").glob("*.html")
        looked_at = {f"pages-{name}": html for name, html in scenarios.pages().items()}
        looked_at |= {f"mails-{source.stem}": source.read_text(encoding="utf-8") for source in sorted(mails)}
        for looked, html in looked_at.items():
            html = re.sub(r"<link rel=\"stylesheet\"[^>]*>", f"<style>{pages.stylesheet()}</style>", html)
            for width, scheme in itertools.product(WIDTHS, SCHEMES):
                page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
                page.set_content(html, wait_until="load")
                name = f"look-{looked}-{width}-{scheme}.png"
                page.screenshot(path=kept / name, full_page=True)
                page.evaluate(axe)
                counted = "async () => (await axe.run(document, {resultTypes: ['violations']})).violations.length"
                found["axe_violations"] += int(page.evaluate(counted))
                found["too_wide"] += int(page.evaluate("document.documentElement.scrollWidth") > width)
                found["screenshots"] += 1
                page.close()
        browser.close()
    return found


def main(long: bool = False) -> dict[str, Any]:
    """Measure, and write build/bench/evidence.json and docs/benchmarks/evidence.md."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        figures = {name: round(value, 3) for name, value in _child("pictures", folder).items()}
        figures |= _child("mail", folder)
    figures |= board()
    figures |= {"mail_words": mail_words(), **_child("looks", ROOT)}
    figures |= {"python": sys.version.split()[0], "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}
    place = ROOT / "build" / "bench" / "evidence.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(figures, indent=2) + "\n")
    PAGE.write_text(page(figures), encoding="utf-8")
    return figures


def page(f: dict[str, Any]) -> str:
    """docs/benchmarks/evidence.md."""

    def own(seconds: float) -> str:
        return f"{seconds:.2f} s of the process's own time"

    rows = [
        ("Composing the first mail of a process, imports included", f"{f['mail_render_s']:.2f} s", "at most 1 s",
         f"{own(f['mail_cpu_s'])}; {METRICS} metrics, two pictures, 100 KB of description"),
        ("Memory of that process at most", f"{f['mail_peak_mb']:.0f} MB", "256 MB", "with all that the function imports"),
        ("HTML of that mail", f"{f['mail_bytes'] / 1000:.0f} kB", "under 102 kB", "Gmail clips what is longer"),
        ("Fetched from other sites", f"{f['mail_foreign_sources']}", "0", "pictures are attached"),
        ("Drawing a run's two pictures, the first of a process", f"{f['pictures_s']:.1f} s", "at most 3 s",
         f"{own(f['pictures_cpu_s'])}, most of it matplotlib's import"),
        ("Words of the mail on passed gates", f"{f['mail_words']}", "at most 231", "the text, addresses left out"),
        ("Found by axe-core", f"{f['axe_violations']}", "0",
         f"{f['screenshots']} looks: every page and mail at {', '.join(map(str, WIDTHS))} px, light and dark"),
        ("Wider than its window", f"{f['too_wide']}", "0", "of the same looks"),
        ("A board of 1,000 groups, filtered and sorted, besides AWS calls", f"{f['board_1000_ms']:.0f} ms", "at most 300 ms",
         f"{own(f['board_1000_cpu_ms'] / 1000)}, the best of {REPEATS}; {f['board_1000_bytes'] / 1000:.0f} kB"),
    ]  # fmt: skip
    return (
        "# Showing the evidence\n\nWritten by `python -m benchmarks evidence`.\n\n"
        f"{tables.table(rows)}\n\n{tables.machine(f)}\n"
    )


def _child(what: str, folder: Path) -> dict[str, Any]:
    """Run a measurement in a process of its own, so that its memory is measured alone."""
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.evidence", what, str(folder)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    place = Path(sys.argv[2])
    what = {"pictures": lambda: draw(place), "mail": lambda: compose_mail(place), "looks": looks}
    print(json.dumps(what[sys.argv[1]]()))
