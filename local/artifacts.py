"""Files that the demo writes: its report, and every mail as HTML and text."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import requests


def save_report(folder: Path, report: Mapping[str, Any]) -> None:
    """Write `report.json`."""
    (folder / "report.json").write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")


def save_mails(folder: Path, web: str, mails: Sequence[Mapping[str, Any]]) -> None:
    """Write each mail as .html with embedded pictures, and as .txt; numbered in the order of sending."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, mail in enumerate(reversed(mails), 1):
        words = "".join(character if character.isalnum() else "-" for character in mail["subject"])
        stem = folder / f"{number:02d}-{words[:60]}"
        stem.with_suffix(".html").write_text(_with_pictures(web, mail))
        stem.with_suffix(".txt").write_text(
            f"To: {', '.join(mail['to'])}\nSubject: {mail['subject']}\n\n{mail['text']}"
        )


def _with_pictures(web: str, mail: Mapping[str, Any]) -> str:
    html: str = mail.get("html") or ""
    for picture in mail["attachments"]:
        data = requests.get(f"{web}{picture['url']}", timeout=30).content
        uri = f"data:{picture['content_type']};base64,{base64.b64encode(data).decode()}"
        html = html.replace(f"cid:{picture['content_id'].strip('<>')}", uri)
    return html
