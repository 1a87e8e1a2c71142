"""Rendering of documents as HTML without scripts, external resources and style attributes, for the strictest CSP."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from promotion import formatting, names
from promotion.domain.people import Person
from promotion.formatting import number
from promotion.links.urls import path_of
from promotion.rendering.documents import charts, curves, grid
from promotion.rendering.documents.approval_request import LONGEST_REASON

TEMPLATES = Path(__file__).parent / "templates"
# The text and the colour of a status badge.
_STATUSES = {
    "": ("Not asked", "idle"),
    "Pending": ("Pending", "open"),
    names.PENDING: ("Pending", "open"),
    names.APPROVED: ("Approved", "good"),
    names.REJECTED: ("Rejected", "bad"),
    names.EXPIRED: ("Expired", "idle"),
    names.SUPERSEDED: ("Superseded", "idle"),
    names.WITHDRAWN: ("Withdrawn", "idle"),
    names.REVOKED: ("Revoked", "bad"),
    names.ROLLED_BACK: ("Rolled back", "idle"),
}


def render(name: str, document: Mapping[str, object], *, person: Person | None, zone: str = "UTC") -> str:
    """Render a document as the page `name` (of templates/pages), with times in `zone` (IANA) and in UTC.

    A document may contain `problem`, a sentence that is shown first, and `reason`, the text typed before the POST was
    refused.
    """
    template = _environment(zone).get_template(f"pages/{name}.html")
    return template.render(
        d=document,
        person=person,
        problem=document.get("problem", ""),
        typed=document.get("reason", ""),
        csrf=document.get("csrf", ""),
        style_version=_style_version(),
    )


def render_record(document: Mapping[str, object]) -> str:
    """Render the record of a decision as a self-contained file with its own style."""
    return _environment().get_template("record/record.html").render(d=document)


def stylesheet() -> str:
    """Return the body of /static/style.css."""
    return (TEMPLATES / "static" / "style.css").read_text(encoding="utf-8")


@functools.cache
def _environment(zone: str = "UTC") -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=formatting.seen,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "ago": formatting.ago,
        "duration": formatting.duration,
        "quantity": formatting.quantity,
        "spoken": formatting.spoken,
        "counted": formatting.counted,
        "listed": formatting.listed,
        "local": path_of,
        "moment": functools.partial(formatting.moment, zone=zone),
        "number": number,
        "one_line": formatting.one_line,
        "share": formatting.share,
        "size": formatting.size,
    }
    environment.globals |= {
        "cells": grid.cells,
        "strip": charts.strip,
        "over_versions": charts.over_versions,
        "roc_plot": curves.roc_plot,
        "share_bar": curves.share_bar,
        "statuses": _STATUSES,
        "longest_reason": LONGEST_REASON,
    }
    return environment


@functools.cache
def _style_version() -> str:
    return hashlib.sha256(stylesheet().encode()).hexdigest()[:12]
