"""Acts of a walk over the table of docs/lifecycle.md, and the oracle's notes beside the states."""

from __future__ import annotations

from datetime import timedelta
from random import Random

from msgspec.structs import replace

from promotion import names
from promotion.config.settings import FreezeWindow
from promotion.domain.people import Person
from promotion.domain.request_ids import request_id
from promotion.workflows import decisions, operations, registry_changes, runs, withdrawing
from tests.fakes import ANN, BEGINNING, CONFIG, GROUP, OPERATOR, FakeService, a_package, a_run
from tests.rules.lifecycle_oracle import FIRST, ORDER, Oracle, Place, requester

FREEZES = tuple(
    FreezeWindow(
        start=BEGINNING + timedelta(hours=hours),
        end=BEGINNING + timedelta(hours=hours + 40),
        reason="Audit.",
        environments=() if hours % 2 else ("prod",),
    )
    for hours in range(61, 4000, 201)
)


class Acts:
    """One installation with one group, and its oracle."""

    random: Random

    def begin(self) -> None:
        """Another group, in another installation."""
        self.begun = getattr(self, "begun", 0) + 1
        # Every other installation has freeze windows, of all environments or of one.
        freezes = FREEZES if self.begun % 2 == 0 else ()
        self.fake, self.oracle = FakeService(replace(CONFIG, freeze=freezes)), Oracle(freezes=freezes)
        self.runs, self.gaps = 0, set[int]()
        self.packages: dict[int, tuple[int, int]] = {}

    def _register(self, version: int) -> None:
        image, note = self.packages.get(version, (0, 0))
        containers = (replace(a_package(version).containers[0], image=f"hf:{image}"),)
        self.fake.register(version, requester=requester(version), containers=containers, metadata={"note": str(note)})

    def _change(self, version: int, image: int, note: int) -> None:
        """The registry has another image, or another note, and tells of it."""
        before = self.packages.get(version, (0, 0))
        self.packages[version] = (before[0] + image, before[1] + note)
        self._register(version)

    def _registered(self, version: int, newest: int, *, asks: bool) -> None:
        self.oracle.registry[version] = names.PENDING
        self._numbered(version)
        self.oracle.asked[version, FIRST] = self.fake.now
        self.oracle.passes[version, FIRST] = True
        if asks:
            self._asked(version, FIRST)

    def _numbered(self, version: int) -> None:
        newest = max((v for v in self.oracle.versions if v != version), default=0)
        self.gaps = (self.gaps | set(range(newest + 1, version))) - {version}

    def _measure(self, version: int, name: str, verdict: bool | None) -> None:
        self.runs += 1
        more = {"status": "Failed", "problem": "no room"} if verdict is None else {}
        evidence = a_run(name, 0.7 if verdict else 0.3, f"run-{self.runs}", **more)
        for _ in range(self.random.choice([1, 1, 2])):
            runs.record_inference(GROUP, version, evidence, context=self.fake.context)

    def _ran(self, version: int, name: str, before: str, verdict: bool | None, event: str) -> None:
        place = (version, name)
        if verdict is None:
            self.oracle.measured.pop((version, before), None)
            self.oracle.failed.add((version, before))
        else:
            self.oracle.measured[version, before] = verdict
            self.oracle.failed.discard((version, before))
        if event.startswith("first run"):
            self.oracle.passes[place] = bool(verdict)
            self.oracle.asked[place] = self.fake.now
            self._opened(place)
        elif self.oracle.state(*place) == "Pending" and verdict is not None:
            if self.oracle.passes[place] and not verdict:
                self.oracle.failed_at[place] = self.fake.now
            self.oracle.passes[place] = verdict
        if event in ("run, gates pass now", "run, gates fail now"):
            self.oracle.told[place] = self.fake.now

    def _vote(self, version: int, name: str, by: Person, verdict: str, *, confirmed: bool = False) -> None:
        asked = self._request(version, name)
        decisions.record_decision(asked, by, verdict, "Good.", context=self.fake.context, confirmed=confirmed)

    def _voted(self, version: int, name: str, *, complete: bool) -> None:
        place = (version, name)
        if complete:
            self.oracle.goes_live(version, name)
            self.oracle.outside -= {version} if name == FIRST else set()
            return
        self.oracle.votes[place] = self.oracle.votes.get(place, 0) + 1
        self.oracle.voted_at[place] = self.fake.now

    def _ask(self, version: int, name: str) -> None:
        decisions.ask_again(self._request(version, name), ANN, "It is mended.", context=self.fake.context)

    def _withdraw(self, version: int, name: str) -> None:
        address = requester(version).actor.email
        person = Person(subject=address, name=f"R{version}", email=address, groups=frozenset())
        withdrawing.withdraw(self._request(version, name), person, "", context=self.fake.context)

    def _delete(self, version: int) -> None:
        """Somebody deletes the package, and the sweep finds it gone."""
        del self.fake.sagemaker.packages[a_package(version).arn]
        registry_changes.record_removed(GROUP, version, context=self.fake.context)

    def _asked(self, version: int, name: str) -> None:
        place = (version, name)
        if name != FIRST:
            before = (version, ORDER[ORDER.index(name) - 1])
            self.oracle.passes[place] = self.oracle.measured.get(before, self.oracle.passes.get(place, True))
        self.oracle.asked[place] = self.fake.now
        self._opened(place)

    def _opened(self, place: Place) -> None:
        for kept in (self.oracle.votes, self.oracle.voted_at, self.oracle.failed_at):
            kept.pop(place, None)
        self.oracle.told.pop(place, None)
        self.oracle.reminded.discard(place)

    def _adopt(self, version: int, name: str) -> None:
        containers = (replace(a_package(version).containers[0], image="hf:0"),)
        package = a_package(version, requester=requester(version), containers=containers, metadata={"note": "0"})
        operations.adopt(package, name, OPERATOR, "It served before.", context=self.fake.context)
        self.fake.sagemaker.packages.setdefault(package.arn, {"ModelApprovalStatus": names.APPROVED})

    def _revoked(self, version: int, falls: dict[str, int | None]) -> None:
        o = self.oracle
        o.outside.discard(version)
        for name in ORDER:
            o.former[name] = [v for v in o.former[name] if v != version]
            if name in falls:
                o.live[name] = None
                if (instead := falls[name]) is not None:
                    o.goes_live(instead, name)

    def _was_set_outside(self, version: int, then: str, *, rejected: bool) -> None:
        self.oracle.registry[version] = then
        (self.oracle.outside.add if rejected else self.oracle.outside.discard)(version)

    def _set_outside(self, version: int, status: str) -> None:
        self.fake.later(seconds=1)
        self.fake.sagemaker.packages[a_package(version).arn]["ModelApprovalStatus"] = status
        operations.record_bypass(GROUP, version, status, "eve", context=self.fake.context, at=self.fake.now)

    def _request(self, version: int, name: str) -> str:
        state = self.fake.view().find_version(version)
        request = state.requests.get(name) if state else None
        return request.id if request else request_id(GROUP, version, name, 1)
