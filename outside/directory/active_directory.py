"""A Samba Active Directory domain controller on loopback, and changes to it over LDAP as an administrator makes them."""

from __future__ import annotations

import base64
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

BASE = "DC=corp,DC=example,DC=test"
ADMINISTRATOR = "CORP\\Administrator"
ADMINISTRATOR_PASSWORD = "Of-the-domain-1"
LDAP_PORT = 389
# A normal account whose password never expires; 2 more is a disabled one ([MS-ADTS] 2.2.16).
ENABLED, DISABLED = "66048", "66050"
PATIENCE_S = 60
_SETTINGS = """
[global]
  server services = ldap
  dcerpc endpoint servers = -epmapper
  ldap server require strong auth = no
  logging = file
  log file = {folder}/samba.log
"""


class Refused(Exception):
    """The directory can't run here; the message has the reason."""


class LdapRefused(Exception):
    """The domain controller refused a command, or doesn't answer yet."""


@dataclass(frozen=True)
class Account:
    """A person of the directory; `groups` are those they are a direct member of."""

    login: str
    name: str
    upn: str
    mail: str = ""
    groups: tuple[str, ...] = ()
    enabled: bool = True

    @property
    def password(self) -> str:
        """Long and mixed enough for the domain's password policy."""
        return f"Secret-of-{self.login}-1"

    @property
    def dn(self) -> str:
        return f"CN={self.login},CN=Users,{BASE}"


class Directory:
    """The running domain controller."""

    def add(self, people: Iterable[Account], groups: Mapping[str, tuple[str, ...]]) -> None:
        """Add people, and groups with the names of the groups that are members of them."""
        people = list(people)
        entries = [_person(person) for person in people]
        for group in groups:
            members = [person.dn for person in people if group in person.groups]
            named = _account_name(group)
            entries.append(
                _entry(group_dn(group), changetype="add", objectClass="group", sAMAccountName=named, member=members)
            )
        # Members exist before they are made members, whatever the order of the groups is.
        nested = [(group, [group_dn(each) for each in members]) for group, members in groups.items() if members]
        entries += [_change(group_dn(group), "add", "member", members) for group, members in nested]
        self._modify("\n".join(entries))

    def remove_member(self, group: str, person: Account) -> None:
        self._modify(_change(group_dn(group), "delete", "member", [person.dn]))

    def disable(self, person: Account) -> None:
        self._modify(_change(person.dn, "replace", "userAccountControl", [DISABLED]))

    def rename_group(self, group: str, name: str) -> None:
        """Give a group another name; its objectGUID stays."""
        newrdn = group_dn(name).removesuffix(f",CN=Users,{BASE}")
        moved = _entry(group_dn(group), changetype="modrdn", newrdn=newrdn, deleteoldrdn="1")
        self._modify(moved + "\n" + _change(group_dn(name), "replace", "sAMAccountName", [_account_name(name)]))

    def id_of(self, group: str) -> str:
        """The objectGUID of a group, as providers write it."""
        found = _ldap("ldapsearch", "-LLL", "-b", group_dn(group), "-s", "base", "objectGUID")
        line = next(line for line in found.splitlines() if line.startswith("objectGUID:: "))
        return str(uuid.UUID(bytes_le=base64.b64decode(line.partition(":: ")[2])))

    def _modify(self, ldif: str) -> None:
        _ldap("ldapmodify", stdin=ldif)


@contextmanager
def running(folder: Path) -> Iterator[Directory]:
    """A new domain CORP.EXAMPLE.TEST, until the end of the block.

    Raises:
        Refused: this machine can't run it.
    """
    _check()
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "output.log"
    settings = folder / "etc" / "smb.conf"
    with log.open("w") as output:
        subprocess.run(
            [
                "samba-tool", "domain", "provision", f"--targetdir={folder}", "--realm=CORP.EXAMPLE.TEST", "--domain=CORP",
                "--server-role=dc", "--dns-backend=NONE", f"--adminpass={ADMINISTRATOR_PASSWORD}", "--host-name=dc1",
                "--host-ip=127.0.0.1", "--option=bind interfaces only = yes", "--option=interfaces = lo", "--use-rfc2307",
            ],
            check=True, stdout=output, stderr=output, env=_environment(),
        )  # fmt: skip
        # A later section of the same name adds to the first.
        with settings.open("a") as file:
            file.write(_SETTINGS.format(folder=folder))
        samba = subprocess.Popen(
            ["samba", "-s", str(settings), "-i"],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=_environment(), start_new_session=True,
        )  # fmt: skip
        try:
            _wait(samba, log)
            yield Directory()
        finally:
            os.killpg(samba.pid, signal.SIGTERM)
            try:
                samba.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                os.killpg(samba.pid, signal.SIGKILL)
                samba.wait()


def group_dn(group: str) -> str:
    """The distinguished name of a group (RFC 4514: commas and quotation marks are escaped)."""
    escaped = "".join(f"\\{each}" if each in ',"+;<>\\=' else each for each in group)
    return f"CN={escaped},CN=Users,{BASE}"


def _account_name(group: str) -> str:
    """A sAMAccountName: some characters of a name are not allowed in it ([MS-SAMR] 3.1.1.6)."""
    return re.sub(r'[",;:+=<>*?|/\\\[\]]', "_", group)


def may_bind(person: Account) -> bool:
    """Return True if the directory accepts a person's password."""
    answer = subprocess.run(
        [
            "ldapsearch", "-x", "-H", f"ldap://127.0.0.1:{LDAP_PORT}", "-D", f"CORP\\{person.login}",
            "-w", person.password, "-s", "base", "-b", "", "defaultNamingContext",
        ],
        capture_output=True, check=False,
    )  # fmt: skip
    return answer.returncode == 0


def _check() -> None:
    missing = [
        command for command in ("samba", "samba-tool", "ldapmodify") if shutil.which(command, path=_path()) is None
    ]
    if missing:
        raise Refused(f"not installed: {', '.join(missing)}. `make test-outside` installs them on Debian as root.")
    if os.geteuid() != 0:
        raise Refused("a domain controller listens on port 389, for which this has to run as root.")
    with socket.socket() as door:
        # A port in TIME_WAIT after an earlier run is free all the same.
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind(("127.0.0.1", LDAP_PORT))
        except OSError as error:
            raise Refused(f"port {LDAP_PORT} of 127.0.0.1 can't be had: {error}.") from error


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def _environment() -> dict[str, str]:
    # samba-tool is a script of the system's own Python, which must not find this one's packages.
    left_out = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    venvs = os.environ.get("PATH", "").split(os.pathsep)
    path = os.pathsep.join(each for each in venvs if not (Path(each).parent / "pyvenv.cfg").exists())
    return {**kept, "PATH": f"{path}:/usr/sbin:/sbin"}


def _wait(samba: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        if samba.poll() is not None or time.monotonic() > deadline:
            raise Refused(f"samba did not start:\n{log.read_text(errors='replace')[-2000:]}")
        try:
            _ldap("ldapsearch", "-LLL", "-s", "base", "-b", BASE, "objectGUID")
        except LdapRefused:
            time.sleep(0.1)
        else:
            return


def _ldap(command: str, *arguments: str, stdin: str = "") -> str:
    access = ("-x", "-H", f"ldap://127.0.0.1:{LDAP_PORT}", "-D", ADMINISTRATOR, "-w", ADMINISTRATOR_PASSWORD)
    options = ("-o", "ldif-wrap=no") if command == "ldapsearch" else ()
    done = subprocess.run(
        [command, *access, *options, *arguments], input=stdin, capture_output=True, check=False, text=True
    )
    if done.returncode:
        raise LdapRefused(f"{command}: {done.stderr.strip()}")
    return done.stdout


def _person(person: Account) -> str:
    password = base64.b64encode(f'"{person.password}"'.encode("utf-16-le")).decode()
    entry = _entry(
        person.dn,
        changetype="add",
        objectClass="user",
        sAMAccountName=person.login,
        userPrincipalName=person.upn,
        displayName=person.name,
        mail=person.mail,
        userAccountControl=ENABLED if person.enabled else DISABLED,
    )
    return f"{entry}unicodePwd:: {password}\n"


def _change(dn: str, how: str, attribute: str, values: Iterable[str]) -> str:
    changed: dict[str, str | list[str]] = {how: attribute, attribute: list(values)}
    return _entry(dn, changetype="modify", **changed)


def _entry(dn: str, **attributes: str | list[str]) -> str:
    """An LDIF entry (RFC 2849), every value in base64: names hold umlauts, commas and quotation marks."""
    lines = [f"dn:: {_base64(dn)}"]
    for name, given in attributes.items():
        values = given if isinstance(given, list) else [given]
        plain = name in ("changetype", "newrdn", "deleteoldrdn", "add", "delete", "replace")
        lines += [f"{name}: {value}" if plain else f"{name}:: {_base64(value)}" for value in values if value]
    return "\n".join(lines) + "\n"


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
