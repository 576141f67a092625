"""Who may do what with the control plane: people and programs by token, with roles; a file that is read again when it changes.

    people:
      - {name: ada, tokenSha256: "<64 hex digits>", roles: [editor]}
      - {name: shop-ci, tokenSha256: "...", roles: [shop]}
    roles:
      shop: [{verbs: [read, apply], kinds: [Listener, Sharding], names: ["shop*"]}]
    sidecars:
      - {name: shop, tokenSha256: "...", nodes: ["shop-*"]}
      - {name: orders, certificate: "spiffe://example.org/ns/orders/*", nodes: ["orders-*"], clusters: [orders]}

What becomes of `sidecars` is in sidecar_access.py. `midstream token` makes a token and its digest. Tokens are 256 bits of chance, so a digest
without salt gives nothing away.
"""

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

import structlog
import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from mesh_core.model.values import Name, Spec
from xds.store.base import Key

log = structlog.get_logger("midstream.control")

Verb = Literal["read", "apply", "delete", "rollback"]
VERBS: tuple[Verb, ...] = ("read", "apply", "delete", "rollback")
TOKEN_BYTES = 32
MAX_TOKEN = 512  # characters of one that is sent


class Unauthorized(Exception):
    """Nobody's token, or none."""


class Forbidden(Exception):
    """Somebody's token, and not for this; the text says for what."""


class Rule(Spec):
    """What objects of these kinds, with names like these, may have done to them."""

    verbs: Annotated[tuple[Verb, ...], Field(min_length=1)]
    kinds: tuple[str, ...] = ("*",)
    names: tuple[str, ...] = ("*",)

    def covers(self, verb: Verb, key: Key) -> bool:
        return verb in self.verbs and all(
            any(fnmatchcase(word, pattern) for pattern in patterns) for word, patterns in zip(key, (self.kinds, self.names), strict=True)
        )


class Person(Spec):
    """Somebody, or a program."""

    name: Name
    token_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", repr=False)]
    roles: Annotated[tuple[Name, ...], Field(min_length=1)]


class SidecarEntry(Spec):
    """Sidecars with this token, or with certificates like this, and which nodes, of which clusters, they may be."""

    name: Name
    token_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", repr=False)] = ""
    certificate: str = ""  # a pattern of SPIFFE IDs or common names
    nodes: tuple[str, ...] = ()  # patterns; none: the node that the certificate names
    clusters: tuple[str, ...] = ()  # patterns

    @model_validator(mode="after")
    def _is_whole(self) -> "SidecarEntry":
        if bool(self.token_sha256) == bool(self.certificate):
            raise ValueError(f"{self.name}: give tokenSha256 or certificate, and not both")
        if self.token_sha256 and not self.nodes:
            raise ValueError(f"{self.name}: a token names no node; give `nodes`")
        return self


ROLES: dict[str, tuple[Rule, ...]] = {"viewer": (Rule(verbs=("read",)),), "editor": (Rule(verbs=VERBS),)}


class Rights(Spec):
    """The file."""

    people: tuple[Person, ...] = ()
    roles: dict[Name, tuple[Rule, ...]] = Field(default_factory=dict)
    sidecars: tuple[SidecarEntry, ...] | None = None

    @field_validator("sidecars", mode="before")
    @classmethod
    def _none_is_nobody(cls, given: object) -> object:
        """`sidecars:` without entries lets nobody in; only without the word they are not asked."""
        return () if given is None else given

    @model_validator(mode="after")
    def _known(self) -> "Rights":
        for index, person in enumerate(self.people):
            for role in person.roles:
                if role not in self.roles and role not in ROLES:
                    raise ValueError(f"people[{index}].roles: there is no role {role}; known are {', '.join(sorted({*ROLES, *self.roles}))}")
            if any(other.token_sha256 == person.token_sha256 for other in self.people[:index]):
                raise ValueError(f"people[{index}].tokenSha256: is another one's token; make one with `midstream token`")
        for index, entry in enumerate(self.sidecars or ()):
            if entry.token_sha256 and any(other.token_sha256 == entry.token_sha256 for other in (*self.people, *(self.sidecars or ())[:index])):
                raise ValueError(f"sidecars[{index}].tokenSha256: is another one's token; make one with `midstream token`")
        return self


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. Without a name: anybody, where no access is configured."""

    name: str
    rules: tuple[Rule, ...]

    def may(self, verb: Verb, key: Key) -> bool:
        return any(rule.covers(verb, key) for rule in self.rules)

    def require(self, verb: Verb, keys: Iterable[Key]) -> None:
        """Raises Forbidden, naming the first object."""
        for kind, name in keys:
            if not self.may(verb, (kind, name)):
                raise Forbidden(
                    f"{self.name} may not {verb} {kind} {name}; ask whoever keeps the control plane's access file for a role that covers it"
                )


ANYBODY = Principal("", ROLES["editor"])


class Access:
    """The access file, as it is now. A file that has become unreadable or wrong leaves the last good one in force."""

    def __init__(self, path: Path):
        """Raises ValueError where the file is not right."""
        self._path = path
        self._stamp = _stamp(path)
        self._people, self._sidecars = self._read()

    def authenticate(self, header: str) -> Principal:
        """Who sends this Authorization header. Raises Unauthorized."""
        self._follow()
        # The look-up by digest tells nothing of how much of a token is right.
        found = self._people.get(hashlib.sha256(bearer(header).encode()).hexdigest())
        if found is None:
            raise Unauthorized("this token is nobody's; it may have been replaced")
        return found

    def sidecars(self) -> tuple[SidecarEntry, ...] | None:
        """Who may come to the xDS server; None where the file does not say."""
        self._follow()
        return self._sidecars

    def _follow(self) -> None:
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._people, self._sidecars = self._read()
                log.info("access file read", people=len(self._people))
            except ValueError as error:
                log.error("access file refused; the last good one stays in force", reason=str(error))

    def _read(self) -> tuple[dict[str, Principal], tuple[SidecarEntry, ...] | None]:
        try:
            rights = Rights.model_validate(yaml.safe_load(self._path.read_text(encoding="utf-8")))
        except ValidationError as error:
            # Without what stands there: digests do not belong into a log.
            said = "; ".join(".".join(map(str, found["loc"])) + f": {found['msg']}".removesuffix(": ") for found in error.errors(include_input=False))
            raise ValueError(f"{self._path} is no access file: {said}") from None
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{self._path} is no access file: {error}") from error
        roles = ROLES | rights.roles
        people = ((person, tuple(rule for role in person.roles for rule in roles[role])) for person in rights.people)
        return {person.token_sha256: Principal(person.name, rules) for person, rules in people}, rights.sidecars


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


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)
