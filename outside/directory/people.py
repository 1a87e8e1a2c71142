"""The people of the directory, and its groups."""

from __future__ import annotations

from outside.directory.active_directory import Account, Directory

APPROVERS = "ml-dev-approvers"
AUDITORS = "ml-auditors"
RENAMED = "ml-emea-approvers"
DOMAIN = "corp.example.test"
MANY = tuple(f"Dept-{number:03d} Shared Drive Readers Region North" for number in range(253))

# Groups, with the groups that are members of them.
GROUPS: dict[str, tuple[str, ...]] = {
    APPROVERS: ("ml-inner",),
    AUDITORS: (),
    RENAMED: (),
    "ml-inner": ("ml-leads",),
    "ml-leads": (),
    "Zulassung Übergang": (),
    'ML, Prod (EMEA) "A"': (),
    **dict.fromkeys(MANY, ()),
}


def _account(login: str, name: str, *groups: str, **more: str | bool) -> Account:
    given = {"upn": f"{login}@{DOMAIN}", "mail": f"{login}@example.com", **more}
    return Account(login=login, name=name, groups=groups, **given)  # type: ignore[arg-type]


ANN = _account("ann", "Ann Adler", APPROVERS, upn=f"a.adler@{DOMAIN}")
BEN = _account("ben", "Ben Baker", APPROVERS)
CHO = _account("cho", "Cho Chang", "ml-leads")
DAN = _account("dan", "Dan Dorn", AUDITORS)
EVE = _account("eve", "Eve Eder", "Zulassung Übergang", 'ML, Prod (EMEA) "A"')
MANY_GROUPS = _account("many", "Many Groups", APPROVERS, *MANY)
JOERG = _account(
    "joerg",
    "Jörg Müller-Lüdenscheidt",
    APPROVERS,
    "Zulassung Übergang",
    upn=f"jörg.müller@{DOMAIN}",
    mail="joerg.mueller@example.com",
)
OFF = _account("off", "Off Out", APPROVERS, enabled=False)
NO_MAIL = _account("nomail", "No Mail", APPROVERS, mail="")
TWIN_ONE = _account("twin1", "Twin One", APPROVERS, mail="shared@example.com")
TWIN_TWO = _account("twin2", "Twin Two", APPROVERS, mail="shared@example.com")
GUS = _account("gus", "Gus Gone", APPROVERS)
HAL = _account("hal", "Hal Half", APPROVERS)
IDA = _account("ida", "Ida Ill", APPROVERS)
JAN = _account("jan", "Jan Jansen", APPROVERS)
KIM = _account("kim", "Kim Kept", APPROVERS)
REMO = _account("remo", "Remo Renamed", RENAMED)
PEOPLE = (
    ANN, BEN, CHO, DAN, EVE, MANY_GROUPS, JOERG, OFF, NO_MAIL, TWIN_ONE, TWIN_TWO, GUS, HAL, IDA, JAN, KIM, REMO,
)  # fmt: skip
# The account by which the providers read the directory.
SERVICE = _account("svc-ldap", "Reads LDAP")


def fill(directory: Directory) -> None:
    """Add everybody."""
    directory.add((*PEOPLE, SERVICE), GROUPS)
