"""Two OpenID providers in front of the directory, each a process of its own: oidc-provider and LemonLDAP::NG."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from outside.directory.active_directory import BASE, Refused
from outside.directory.people import SERVICE
from outside.ministack.emulated import answers, eventually
from tests.infra.synthesized import ROOT

CLIENT_ID = "promotion"
# Characters that HTTP Basic carries only where they are form-encoded (RFC 6749, section 2.3.1).
CLIENT_SECRET = "of+the%41test/with=characters-0123456789"
# LemonLDAP::NG 2.16 doesn't decode them.
PLAIN_SECRET = "of-the-test-without-characters-0123456789"
_PORTAL = Path("/usr/share/lemonldap-ng/portal")


@dataclass(frozen=True)
class Provider:
    """A running provider. `log` has a line for each authorization request, where it writes one."""

    issuer: str
    secret: str
    log: Path

    def count_requests(self) -> int:
        """Return how often a browser was redirected to it."""
        return self.log.read_text(encoding="utf-8", errors="replace").count("authorization request")


@contextmanager
def oidc_provider(port: int, service: str, folder: Path) -> Iterator[Provider]:
    """oidc-provider as it comes, for the service at an address: groups by objectGUID in the ID token, names and addresses at
    userinfo, and logouts over the back channel.
    """
    issuer = f"http://127.0.0.1:{port}"
    settings = {
        "port": port,
        "issuer": issuer,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "redirect_uris": [f"{service}/callback"],
        "backchannel_logout_uri": f"{service}/backchannel-logout",
        "service": {"login": SERVICE.login, "password": SERVICE.password},
    }
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "oidc-provider.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            ["node", str(ROOT / "outside" / "directory" / "oidc_over_ldap.mjs")],
            stdin=subprocess.PIPE, stdout=output, stderr=output, cwd=ROOT, env={**os.environ, "NODE_NO_WARNINGS": "1"},
        )  # fmt: skip
        assert server.stdin is not None
        server.stdin.write(json.dumps(settings).encode() + b"\n")
        server.stdin.flush()
        try:
            eventually(lambda: answers(port), f"identity provider on port {port}", within_s=120)
            yield Provider(issuer, CLIENT_SECRET, log)
        finally:
            server.stdin.close()
            server.wait(60)


@contextmanager
def lemonldap(port: int, callback: str, folder: Path) -> Iterator[Provider]:
    """LemonLDAP::NG with its own Active Directory back end, as it comes: groups by name, at userinfo alone.

    Raises:
        Refused: it isn't installed.
    """
    if shutil.which("plackup") is None or not _PORTAL.is_dir():
        raise Refused("LemonLDAP::NG isn't installed. `make test-outside` installs it on Debian as root.")
    issuer = f"http://127.0.0.1:{port}/"
    for name in ("conf", "sessions", "psessions", "lock", "cache"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "conf" / "lmConf-1.json").write_text(json.dumps(_configuration(issuer, callback, folder)))
    settings = folder / "lemonldap-ng.ini"
    settings.write_text(_INI.format(folder=folder, portal=_PORTAL))
    log = folder / "lemonldap.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [
                "plackup", "--host", "127.0.0.1", "--port", str(port), "--no-default-middleware",
                str(_PORTAL / "htdocs" / "index.psgi"),
            ],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder, start_new_session=True,
            env={**os.environ, "LLNG_DEFAULTCONFFILE": str(settings)},
        )  # fmt: skip
        try:
            eventually(lambda: answers(port), f"LemonLDAP::NG on port {port}", within_s=120)
            yield Provider(issuer, PLAIN_SECRET, log)
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(60)


_INI = """[all]
logLevel = warn
checkTime = 1
[configuration]
type = File
dirName = {folder}/conf
localStorage = Cache::FileCache
localStorageOptions = {{ 'namespace' => 'conf', 'default_expires_in' => 600, 'cache_root' => '{folder}/cache' }}
[portal]
staticPrefix = /static
templateDir = {portal}/templates
languages = en
[handler]
[manager]
"""


def _configuration(issuer: str, callback: str, folder: Path) -> dict[str, Any]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    sessions = {
        "Directory": f"{folder}/sessions",
        "LockDirectory": f"{folder}/lock",
        "generateModule": "Lemonldap::NG::Common::Apache::Session::Generate::SHA256",
    }
    by_login = "(&(sAMAccountName=$user)(objectClass=user))"
    return {
        "cfgNum": 1,
        "cfgVersion": "2.16.1",
        "cfgDate": 1,
        "portal": issuer,
        "domain": "127.0.0.1",
        "cookieName": "lemonldap",
        "securedCookie": 0,
        "timeout": 72000,
        "whatToTrace": "uid",
        "authentication": "AD",
        "userDB": "Same",
        "passwordDB": "Null",
        "registerDB": "Null",
        "globalStorage": "Apache::Session::File",
        "globalStorageOptions": sessions,
        "persistentStorage": "Apache::Session::File",
        "persistentStorageOptions": {**sessions, "Directory": f"{folder}/psessions"},
        "localSessionStorage": "Cache::FileCache",
        "localSessionStorageOptions": {
            "cache_depth": 3, "cache_root": f"{folder}/cache", "default_expires_in": 600, "namespace": "sessions",
        },
        "ldapServer": "ldap://127.0.0.1",
        "ldapPort": 389,
        "ldapVersion": 3,
        "managerDn": f"CORP\\{SERVICE.login}",
        "managerPassword": SERVICE.password,
        "ldapBase": BASE,
        "AuthLDAPFilter": by_login,
        "LDAPFilter": by_login,
        "ldapExportedVars": {"uid": "sAMAccountName", "cn": "displayName", "mail": "mail", "upn": "userPrincipalName"},
        "ldapGroupBase": BASE,
        "ldapGroupObjectClass": "group",
        "ldapGroupAttributeName": "member",
        "ldapGroupAttributeNameUser": "dn",
        "ldapGroupAttributeNameGroup": "dn",
        "ldapGroupAttributeNameSearch": "cn",
        "ldapGroupRecursive": 1,
        "macros": {},
        "groups": {},
        "exportedVars": {},
        "locationRules": {},
        "portalCheckLogins": 0,
        "portalDisplayRegister": 0,
        "portalDisplayResetPassword": 0,
        "requireToken": 0,
        # Loaded in the place of its captcha, which needs a library for pictures.
        "captcha": "::Plugins::History",
        "captcha_login_enabled": 0,
        "captcha_mail_enabled": 0,
        "captcha_register_enabled": 0,
        "issuerDBOpenIDConnectActivation": 1,
        "oidcServiceMetaDataIssuer": issuer,
        "oidcServicePrivateKeySig": private.decode(),
        "oidcServicePublicKeySig": public.decode(),
        "oidcServiceKeyIdSig": "of-the-test",
        "oidcServiceAllowAuthorizationCodeFlow": 1,
        "oidcRPMetaDataOptions": {
            CLIENT_ID: {
                "oidcRPMetaDataOptionsClientID": CLIENT_ID,
                "oidcRPMetaDataOptionsClientSecret": PLAIN_SECRET,
                "oidcRPMetaDataOptionsIDTokenSignAlg": "RS256",
                "oidcRPMetaDataOptionsIDTokenExpiration": 3600,
                "oidcRPMetaDataOptionsRedirectUris": callback,
                "oidcRPMetaDataOptionsBypassConsent": 1,
                "oidcRPMetaDataOptionsRequirePKCE": 1,
                "oidcRPMetaDataOptionsUserIDAttr": "uid",
            }
        },
        "oidcRPMetaDataExportedVars": {
            CLIENT_ID: {"email": "mail", "name": "cn", "preferred_username": "upn", "groups": "groups;string;always"}
        },
        "oidcRPMetaDataOptionsExtraClaims": {CLIENT_ID: {"groups": "groups"}},
        "oidcRPMetaDataScopeRules": {CLIENT_ID: {"groups": "1"}},
    }  # fmt: skip
