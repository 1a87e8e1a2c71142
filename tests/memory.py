"""AWS and the ledger in memory: what is stored goes through JSON, as it does on AWS."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from promotion.client.signature import holds, public_keys
from promotion.domain.canonical_json import canonical
from promotion.domain.model import EnvironmentState, Head, VersionState
from promotion.errors import Conflict
from promotion.ledger.checked import StoredHead
from promotion.ledger.events import Event, StoredEvent, head_after, read_event
from promotion.ledger.fold import read_state, refolded
from promotion.ledger.snapshot import GroupSnapshot


class LocalSigner:
    """A P-256 key of this process, in KMS's place."""

    key_id = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"

    def __init__(self, key_id: str | None = None, secret: int | None = None) -> None:
        self.key_id = key_id or self.key_id
        made = ec.generate_private_key(ec.SECP256R1())
        # As a number, so that two processes can sign with one key.
        self.secret = secret or made.private_numbers().private_value
        self._key = ec.derive_private_key(self.secret, ec.SECP256R1())
        self.public_key = self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message, ec.ECDSA(hashes.SHA256()))

    def public_key_pem(self) -> str:
        return self.public_key

    def sign_text(self, message: bytes) -> str:
        return base64.b64encode(self.sign(message)).decode()

    def holds(self, message: bytes, signature: str) -> bool:
        return holds(public_keys(self.public_key), message, signature)


class MemoryLedger:
    """A ledger as DynamoDB keeps it: items by key, each a JSON text, written all or none on condition of the head."""

    def __init__(self) -> None:
        self.items: dict[tuple[str, str], bytes] = {}
        self._lock = threading.Lock()

    def view(self, group: str) -> GroupSnapshot:
        found = [read_state(self.items[key].decode(), EnvironmentState) for key in self._keys(group, "ENV#")]
        if None in found:
            return refolded(self.head(group), self.events(group))
        return GroupSnapshot(
            self.head(group),
            environments={state.name: state for state in found if state is not None},
            load=lambda number: self.version(group, number),
        )

    def head(self, group: str) -> Head:
        return self._read((group, "HEAD"), Head) if (group, "HEAD") in self.items else Head(group=group)

    def stored_head(self, group: str) -> StoredHead:
        return StoredHead(self.head(group))

    def version(self, group: str, number: int) -> VersionState | None:
        key = (group, f"VERSION#{number:010d}")
        if key not in self.items:
            return None
        found = read_state(self.items[key].decode(), VersionState)
        return found or refolded(self.head(group), self.events(group)).find_version(number)

    def versions(self, group: str) -> list[VersionState]:
        found = (self.version(group, int(key[1].removeprefix("VERSION#"))) for key in self._keys(group, "VERSION#"))
        return [state for state in found if state is not None][::-1]

    def stored_states(self, group: str) -> tuple[dict[str, str], dict[int, str]]:
        return (
            {key[1].removeprefix("ENV#"): self.items[key].decode() for key in self._keys(group, "ENV#")},
            {int(key[1].removeprefix("VERSION#")): self.items[key].decode() for key in self._keys(group, "VERSION#")},
        )

    def event(self, group: str, sequence: int) -> Event | None:
        return next((event for event in self.events(group, after=sequence - 1) if event.sequence == sequence), None)

    def events(self, group: str, *, after: int = 0) -> Iterator[Event]:
        for key in self._keys(group, "EVENT#"):
            if int(key[1].removeprefix("EVENT#")) > after:
                yield self._event(key)

    def _event(self, key: tuple[str, str]) -> Event:
        return read_event(self._read(key, StoredEvent))

    def environments(self, unreadable: list[str] | None = None) -> Iterator[EnvironmentState]:
        yield from (self._read(key, EnvironmentState) for key in sorted(self.items) if key[1].startswith("ENV#"))

    def groups(self) -> list[str]:
        return list(dict.fromkeys(state.group for state in self.environments()))

    def append(self, view: GroupSnapshot, events: Sequence[Event]) -> None:
        with self._lock:
            if self.head(view.group) != view.head:
                stored = {event.event_id for event in self.events(view.group, after=events[-1].sequence - 1)}
                if events[-1].event_id in stored:
                    return
                raise Conflict(f"{view.group}: somebody appended after event {view.head.sequence}.")
            put = {f"EVENT#{event.sequence:010d}": canonical(event.stored()) for event in events}
            put |= {f"VERSION#{number:010d}": canonical(view.version(number)) for number in view.changed_versions}
            put |= {f"ENV#{name}": canonical(view.environment(name)) for name in view.changed_environments}
            put["HEAD"] = canonical(head_after(view.head, events))
            self.items |= {(view.group, key): value for key, value in put.items()}

    def alter(self, group: str, key: str, **changes: Any) -> None:
        """Change an item, or an event's text, as an administrator could in the console."""
        document = msgspec.json.decode(self.items[group, key])
        if key.startswith("EVENT#"):
            changed = {**msgspec.json.decode(document["text"]), **changes}
            changes = {"text": msgspec.json.encode(changed).decode()}
        self.items[group, key] = msgspec.json.encode({**document, **changes})

    def _keys(self, group: str, prefix: str) -> list[tuple[str, str]]:
        return sorted(key for key in self.items if key[0] == group and key[1].startswith(prefix))

    def _read(self, key: tuple[str, str], kind: type[Any]) -> Any:
        return msgspec.json.decode(self.items[key], type=kind)


class MemoryCursors:
    def __init__(self) -> None:
        self.at: dict[tuple[str, str], int] = {}

    def read(self, group: str) -> dict[str, int]:
        return {target: sequence for (of, target), sequence in self.at.items() if of == group}

    def advance(self, group: str, target: str, sequence: int) -> None:
        self.at[group, target] = max(sequence, self.at.get((group, target), 0))

    def put(self, group: str, target: str, sequence: int) -> None:
        self.at[group, target] = sequence

    def reset(self, group: str, target: str) -> None:
        self.at.pop((group, target), None)


class _ParameterNotFound(Exception):
    pass


class _ParameterAlreadyExists(Exception):
    pass


class FakeSsm:
    """Parameter Store: write-once where asked for, no `{{`, no value above 8 KB, pages of 10."""

    class exceptions:  # noqa: N801 - as boto3 names it
        ParameterNotFound = _ParameterNotFound
        ParameterAlreadyExists = _ParameterAlreadyExists
        ClientError = ClientError

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.writes = 0

    def get_parameter(self, *, Name: str) -> dict[str, Any]:  # noqa: N803
        if Name not in self.values:
            raise _ParameterNotFound(Name)
        return {"Parameter": {"Name": Name, "Value": self.values[Name]}}

    def put_parameter(self, *, Name: str, Value: str, Overwrite: bool, **_: Any) -> None:  # noqa: N803
        if Name in self.values and not Overwrite:
            raise _ParameterAlreadyExists(Name)
        assert "{{" not in Value, "Parameter Store refuses this"
        assert len(Value.encode()) <= 8192, f"{Name} holds {len(Value.encode())} bytes"
        self.values[Name] = Value
        self.writes += 1

    def delete_parameter(self, *, Name: str) -> None:  # noqa: N803
        if Name not in self.values:
            raise _ParameterNotFound(Name)
        del self.values[Name]

    def get_paginator(self, operation: str) -> FakeSsm:
        assert operation == "get_parameters_by_path"
        return self

    def paginate(self, *, Path: str, Recursive: bool) -> Iterator[dict[str, Any]]:  # noqa: N803
        found = sorted(name for name in self.values if name.startswith(f"{Path}/"))
        for start in range(0, len(found), 10):
            yield {"Parameters": [{"Name": name, "Value": self.values[name]} for name in found[start : start + 10]]}


class FakeS3:
    """A bucket: objects by key, and writes on condition that there is none."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        if Key not in self.objects:
            raise ClientError({"Error": {"Code": "NoSuchKey", "Message": Key}}, "GetObject")
        return {"Body": io.BytesIO(self.objects[Key])}

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, IfNoneMatch: str = "", **_: str) -> None:  # noqa: N803
        if IfNoneMatch and Key in self.objects:
            raise ClientError({"Error": {"Code": "PreconditionFailed", "Message": Key}}, "PutObject")
        self.objects[Key] = Body


class FakeSageMaker:
    """The registry: packages by ARN, updates partial, metadata merged."""

    def __init__(self) -> None:
        self.packages: dict[str, dict[str, Any]] = {}
        self.updates: list[dict[str, Any]] = []

    def describe_model_package(self, *, ModelPackageName: str) -> dict[str, Any]:  # noqa: N803
        if ModelPackageName not in self.packages:
            said = f"ModelPackage {ModelPackageName} does not exist."
            raise ClientError({"Error": {"Code": "ValidationException", "Message": said}}, "DescribeModelPackage")
        return dict(self.packages[ModelPackageName])

    def update_model_package(self, *, ModelPackageArn: str, **changes: Any) -> None:  # noqa: N803
        self.updates.append({"ModelPackageArn": ModelPackageArn, **changes})
        package = self.packages[ModelPackageArn]
        metadata = {**package.get("CustomerMetadataProperties", {}), **changes.pop("CustomerMetadataProperties", {})}
        package |= {**changes, "CustomerMetadataProperties": metadata}


class FakeBus:
    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []

    def put_events(self, *, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        self.entries += Entries
        return {"FailedEntryCount": 0, "Entries": [{} for _ in Entries]}


class MailLog:
    """Keeps what would be mailed about: the events that it was given, one after the other."""

    one_by_one = True

    def __init__(self) -> None:
        self.sent: list[str] = []

    def project(self, view: GroupSnapshot, events: Sequence[Event]) -> None:
        self.sent += [event.event_id for event in events]
