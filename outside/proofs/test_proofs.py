"""Verify a promotion's attestation and signature by independent tools, on a folder that tar unpacked."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from promotion.client.artifact import hash_artifact
from promotion.domain.model import Container
from promotion.ledger.payloads import ModelPromoted
from tests.fakes import GROUP, FakeService

HERE = Path(__file__).parent
PYTHON = os.environ.get("OUTSIDE_PYTHON", "")
pytestmark = pytest.mark.skipif(not PYTHON, reason="make test-outside SUITES=proofs")


class Promoted:
    """An archive, the folder that tar unpacked it to, and the proofs of its promotion, as files."""

    def __init__(self, home: Path) -> None:
        source, archive = home / "source", home / "model.tar.gz"
        (source / "code").mkdir(parents=True)
        (source / "config.json").write_text('{"model_type": "t5"}')
        (source / "code" / "naïve Name.py").write_text("x = 1\n")
        (source / "empty").write_bytes(b"")
        (source / "weights.bin").write_bytes(bytes(range(256)) * 1000)
        # A hard link is an archive's own way of having a file twice: it unpacks to a file of the same bytes.
        (source / "again.bin").hardlink_to(source / "weights.bin")
        with tarfile.open(archive, "w:gz") as made:
            for path in sorted(source.rglob("*")):
                made.add(path, path.relative_to(source).as_posix(), recursive=False)
        self.folder = home / "unpacked"
        self.folder.mkdir()
        subprocess.run(["tar", "-xzf", str(archive), "-C", str(self.folder)], check=True)
        with archive.open("rb") as stream:
            hashed = hash_artifact(stream)
        fake = FakeService()
        fake.evidence.keep_manifest(hashed.manifest)
        container = Container(
            image="hf:2.1", image_digest="sha256:" + "ab" * 32, model_data_url="s3://promotion-models/model.tar.gz",
            size=hashed.size, sha256=hashed.sha256, manifest_sha256=hashed.manifest.sha256,
        )  # fmt: skip
        fake.register(1, containers=(container,))
        fake.decide(1, "dev")
        fake.project(GROUP)
        [event] = [event for event in fake.events() if isinstance(event.payload, ModelPromoted)]
        self.envelope, self.signature, self.key = home / "attestation.json", home / "model.sig", home / "promotion.pub"
        self.write(self.envelope, fake.evidence.attestation(event))
        self.write(self.signature, fake.evidence.model_signature(event, 0))
        self.key.write_text(fake.signer.public_key)
        self.other_key = home / "other.pub"
        self.other_key.write_text(FakeService().signer.public_key)

    def write(self, path: Path, document: dict[str, Any] | None) -> None:
        assert document is not None
        path.write_text(json.dumps(document))

    def attestation_holds(self, key: Path) -> subprocess.CompletedProcess[str]:
        return outside(str(HERE / "check_attestation.py"), str(self.envelope), str(key), str(self.folder))

    def signature_holds(self, key: Path) -> subprocess.CompletedProcess[str]:
        return outside("-m", "model_signing", "verify", "key", str(self.folder),
                       "--signature", str(self.signature), "--public_key", str(key))  # fmt: skip


def outside(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PYTHON, *arguments], capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture
def promoted(tmp_path: Path) -> Promoted:
    return Promoted(tmp_path)


def test_securesystemslib_and_in_toto_take_the_attestation(promoted: Promoted) -> None:
    done = promoted.attestation_holds(promoted.key)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"predicateType": "urn:model-promotion:approval:1", "files": 5}


def test_model_signing_takes_the_model_signature(promoted: Promoted) -> None:
    done = promoted.signature_holds(promoted.key)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "succeeded" in done.stdout + done.stderr


@pytest.mark.parametrize("harm", ["changed", "added", "removed"])
def test_both_refuse_a_folder_that_is_not_what_was_approved(promoted: Promoted, harm: str) -> None:
    if harm == "changed":
        (promoted.folder / "again.bin").unlink()
        (promoted.folder / "again.bin").write_bytes(b"other")
    elif harm == "added":
        (promoted.folder / "evil.py").write_text("import os\n")
    else:
        (promoted.folder / "config.json").unlink()
    assert promoted.attestation_holds(promoted.key).returncode != 0
    assert promoted.signature_holds(promoted.key).returncode != 0


def test_both_refuse_another_key(promoted: Promoted) -> None:
    assert promoted.attestation_holds(promoted.other_key).returncode != 0
    assert promoted.signature_holds(promoted.other_key).returncode != 0


def test_both_refuse_a_statement_that_was_altered(promoted: Promoted) -> None:
    envelope = json.loads(promoted.envelope.read_text())
    promoted.write(promoted.envelope, altered(envelope))
    bundle = json.loads(promoted.signature.read_text())
    promoted.write(promoted.signature, {**bundle, "dsseEnvelope": altered(bundle["dsseEnvelope"])})
    assert promoted.attestation_holds(promoted.key).returncode != 0
    assert promoted.signature_holds(promoted.key).returncode != 0


def altered(envelope: dict[str, Any]) -> dict[str, Any]:
    payload = base64.b64decode(envelope["payload"]).replace(b"config.json", b"confix.json")
    return {**envelope, "payload": base64.b64encode(payload).decode()}
