"""Who asks, by the access file (rights.py) as it is now: it is read again when it changes."""

import hashlib
import secrets
from dataclasses import dataclass, field
from pathlib import Path

import structlog
import yaml
from pydantic import ValidationError

from mesh_core.control.oidc import NotTrusted, Provider
from mesh_core.control.rights import Principal, Rights, SidecarEntry
from xds.stamp import stamp

log = structlog.get_logger("midstream.control")

TOKEN_BYTES = 32
MAX_TOKEN = 16 * 1024  # characters of one that is sent; providers put many groups into theirs


class Unauthorized(Exception):
    """Nobody's token, or none."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What the file says."""

    people: dict[str, Principal]  # by the digests of their tokens
    sidecars: tuple[SidecarEntry, ...] | None
    providers: dict[str, Provider] = field(default_factory=dict)  # by their issuers


class Access:
    """A file that has become unreadable or wrong leaves the last good one in force."""

    def __init__(self, path: Path):
        """Raises ValueError where the file is not right."""
        self._path = path
        self._stamp = stamp(path)
        self._known = self._read({})

    async def authenticate(self, header: str) -> Principal:
        """Who sends this Authorization header: by a token of the file, or by one that a provider has signed. Raises Unauthorized."""
        token = bearer(header)
        if token.count(".") == 2 and self._now().providers:  # header.claims.signature; ours have no dots
            try:
                return await self._signed(token)
            except NotTrusted as error:
                raise Unauthorized(str(error)) from error
        return self.by_token(header)

    def by_token(self, header: str) -> Principal:
        """The same, by the tokens of the file alone."""
        # The look-up by digest tells nothing of how much of a token is right.
        found = self._now().people.get(hashlib.sha256(bearer(header).encode()).hexdigest())
        if found is None:
            raise Unauthorized("this token is nobody's; it may have been replaced")
        return found

    def sidecars(self) -> tuple[SidecarEntry, ...] | None:
        """Who may come to the xDS server; None where the file does not say."""
        return self._now().sidecars

    async def _signed(self, token: str) -> Principal:
        from mesh_core.control.oidc import issuer_of

        providers = self._known.providers
        provider = providers.get(issuer_of(token))
        if provider is None:
            raise NotTrusted(f"this token was issued by none of {', '.join(providers)}; log in there, or ask for its `issuers` entry")
        return await provider.principal(token)

    def _now(self) -> _Known:
        now = stamp(self._path)
        if now != self._stamp:
            self._stamp = now
            try:
                self._known = self._read(self._known.providers)
                log.info("access file read", people=len(self._known.people))
            except ValueError as error:
                log.error("access file refused; the last good one stays in force", reason=str(error))
        return self._known

    def _read(self, before: dict[str, Provider]) -> _Known:
        try:
            rights = Rights.model_validate(yaml.safe_load(self._path.read_text(encoding="utf-8")))
        except ValidationError as error:
            # Without what stands there: digests do not belong into a log.
            said = "; ".join(".".join(map(str, found["loc"])) + f": {found['msg']}".removesuffix(": ") for found in error.errors(include_input=False))
            raise ValueError(f"{self._path} is no access file: {said}") from None
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{self._path} is no access file: {error}") from error
        people = {person.token_sha256: Principal(person.name, rights.rules(person.roles)) for person in rights.people}
        providers = {found.issuer: Provider(found, rights, before.get(found.issuer)) for found in rights.issuers}
        return _Known(people, rights.sidecars, providers)


def bearer(header: str) -> str:
    """The token of an Authorization header. Raises Unauthorized."""
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN:
        raise Unauthorized("send `Authorization: Bearer TOKEN`; the commands take it from MIDSTREAM_TOKEN")
    return token.strip()


def new_token() -> tuple[str, str]:
    """A token and its digest."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    return token, hashlib.sha256(token.encode()).hexdigest()
