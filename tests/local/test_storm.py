"""Registrations within a short time, with `[advanced.mail] settle` as deployed: what approvers and the requester get."""

from __future__ import annotations

from pathlib import Path

from local.service import LocalService
from tests.local.people import Person, mails_to, register

ROOT = Path(__file__).resolve().parents[2]


def test_of_four_registrations_approvers_get_mail_about_the_first_and_the_newest(tmp_path: Path) -> None:
    config = tmp_path / "promotion.toml"
    text = (ROOT / "promotion.toml").read_text(encoding="utf-8")
    config.write_text(f'{text}\n[advanced.mail]\nsettle = "3m"\n', encoding="utf-8")
    with LocalService(config=config, inference=False) as service, Person(service, "ann") as ann:
        ann.sign_in()
        register(service, "stormy")
        [first] = service.wait_for(lambda: mails_to(service, "ann@example.com", "stormy"))
        arns = [register(service, "stormy") for _ in range(3)]
        sagemaker = service.session().client("sagemaker")

        def fields() -> list[str]:
            found = [sagemaker.describe_model_package(ModelPackageName=arn) for arn in arns]
            return [each["CustomerMetadataProperties"].get("dev", "") for each in found]

        service.wait_for(lambda: fields() == ["Superseded", "Superseded", "PendingManualApproval"])
        page = ann.json("/models/stormy/versions/4")
        assert page["environments"][0]["request"]["state"] == "Pending"
        assert mails_to(service, "ann@example.com", "stormy") == [first], "the page is there, the mail waits"
        service.advance_clock(200)
        second, _ = service.wait_for(
            lambda: found if len(found := mails_to(service, "ann@example.com", "stormy")) > 1 else []
        )
        assert "v4" in second["subject"]
        [digest] = service.wait_for(lambda: mails_to(service, "dee@example.com", "stormy"))
        assert digest["subject"] == "3 requests of stormy were superseded"
        assert len(digest["links"]) >= 3
