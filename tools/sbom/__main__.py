"""Write software bills of materials and a list of licences into build/sbom/: `make sbom`.

`functions.json` and `image.json` are CycloneDX documents of what is deployed, with the hashes of the locks; `environment.json`
is one of the whole environment that the tests run in; `licences.csv` has each package with its licences as its author states
them, and where it goes.
"""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "build" / "sbom"
DEPLOYED = {"functions": ROOT / "lambdas" / "requirements.txt", "image": ROOT / "inference" / "requirements.txt"}
TORCH = ROOT / "inference" / "torch.txt"
UNKNOWN = "not stated"


def main() -> int:
    """Write the documents; returns 1 where a package states no licence, which is printed."""
    OUT.mkdir(parents=True, exist_ok=True)
    program = generator()
    everything = OUT / "environment.json"
    made = {everything: ["environment", sys.executable]}
    made |= {OUT / f"{name}.json": ["requirements", str(lock)] for name, lock in DEPLOYED.items()}
    for target, arguments in made.items():
        subprocess.run([program, *arguments, "--output-format", "JSON", "--output-file", target], check=True)
        print(target.relative_to(ROOT))
    rows = list(licences(json.loads(everything.read_text(encoding="utf-8"))))
    with (OUT / "licences.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("package", "version", "licences", "where"), *rows])
    print((OUT / "licences.csv").relative_to(ROOT))
    silent = [f"{name} {version} ({where})" for name, version, said, where in rows if said == UNKNOWN]
    print(*(f"No licence is stated by {one}: look at its source." for one in silent), sep="\n")
    return 1 if silent else 0


def generator() -> Path:
    """CycloneDX's own program, in an environment of its lock, made once.

    Raises:
        subprocess.CalledProcessError: pip could not; it has said why.
    """
    lock = Path(__file__).with_name("requirements.txt")
    place = ROOT / "build" / f"sbom-{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}"
    program = place / "bin" / "cyclonedx-py"
    if not program.exists():
        venv.create(place, with_pip=True)
        quiet = ("--quiet", "--disable-pip-version-check", "--require-hashes", "--no-deps")
        subprocess.run([place / "bin" / "pip", "install", *quiet, "-r", lock], check=True)
    return program


def licences(document: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Name, version, licences and place of each package of a CycloneDX document, by name."""
    homes = {name: packages(lock) for name, lock in DEPLOYED.items()}
    homes["image"] |= packages(TORCH)
    for part in sorted(document["components"], key=lambda part: canonicalize_name(part["name"])):
        where = [home for home, names in homes.items() if canonicalize_name(part["name"]) in names]
        said = {name for one in part.get("licenses", ()) if (name := licence(one))}
        # Authors state the same licence as an identifier and as a classifier: the shorter is the identifier.
        identifiers = {name for name in said if not name.startswith("License ::")} or said or free_text(part["name"])
        stated = "; ".join(sorted(identifiers)) or UNKNOWN
        yield part["name"], part.get("version", ""), stated, ", ".join(where) or "development"


def free_text(name: str) -> set[str]:
    """The first line of a package's `License` field, which CycloneDX leaves out where it is no identifier."""
    return set((metadata.metadata(name)["License"] or "").strip().splitlines()[:1])


def licence(stated: dict[str, Any]) -> str:
    """The identifier, name or expression of one entry."""
    inner: dict[str, str] = stated.get("license", {})
    return inner.get("id") or inner.get("name") or str(stated.get("expression", ""))


def packages(lock: Path) -> set[str]:
    """Names of the packages of a lock, normalized."""
    lines = lock.read_text(encoding="utf-8").splitlines()
    pins = (line.rstrip("\\").strip() for line in lines if "==" in line and not line.startswith((" ", "#")))
    return {canonicalize_name(Requirement(pin).name) for pin in pins}


if __name__ == "__main__":
    sys.exit(main())
