"""Check an attestation as a stranger would: `check_attestation.py ENVELOPE PUBLIC_KEY FOLDER`. Nothing of the product is used.

securesystemslib verifies the envelope, in-toto's bindings read the statement, and each file of FOLDER has to be a subject.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from google.protobuf import json_format
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey


def main(envelope: Path, public_key: Path, folder: Path) -> None:
    document = json.loads(envelope.read_text(encoding="utf-8"))
    key = SSlibKey.from_crypto(load_pem_public_key(public_key.read_bytes()), document["signatures"][0]["keyid"])
    signed = Envelope.from_dict(json.loads(envelope.read_text(encoding="utf-8")))
    signed.verify([key], threshold=1)
    found = json_format.Parse(signed.payload, statement_pb2.Statement())
    Statement.copy_from_pb(found).validate()
    subjects = {subject.name: subject.digest["sha256"] for subject in found.subject}
    files = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }
    differing = sorted(name for name, digest in files.items() if subjects.get(name) != digest)
    if differing or len(files) != len(subjects) - 1:
        raise SystemExit(f"these files are not what was approved: {differing}")
    print(json.dumps({"predicateType": found.predicate_type, "files": len(files)}))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
