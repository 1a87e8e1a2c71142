"""The list of licences says where each package goes, and which one states nothing."""

from __future__ import annotations

from typing import Any

from tools.sbom.__main__ import DEPLOYED, UNKNOWN, licences, packages


def document(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"components": list(parts)}


def test_a_package_of_the_functions_and_the_image_names_both() -> None:
    row = {"name": "Jinja2", "version": "3", "licenses": [{"license": {"id": "BSD-3-Clause"}}]}
    assert list(licences(document(row))) == [("Jinja2", "3", "BSD-3-Clause", "functions, image")]


def test_an_identifier_is_preferred_to_a_classifier() -> None:
    stated = [{"license": {"name": "License :: OSI Approved :: MIT License"}}, {"expression": "MIT"}]
    ((_, _, said, where),) = licences(document({"name": "pytest", "version": "9", "licenses": stated}))
    assert (said, where) == ("MIT", "development")


def test_a_field_of_free_text_counts_and_silence_is_said() -> None:
    rows = licences(document({"name": "transformers", "version": "5"}, {"name": "model-promotion", "version": "0"}))
    said = {name: stated for name, _, stated, _ in rows}
    assert said["transformers"].startswith("Apache")
    assert said["model-promotion"] == UNKNOWN


def test_the_locks_are_read_without_their_hashes() -> None:
    names = packages(DEPLOYED["functions"])
    assert {"boto3", "jinja2", "aws-lambda-powertools"} <= names
    assert not [name for name in names if "hash" in name]
