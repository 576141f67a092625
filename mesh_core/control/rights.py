"""The access file: people and programs, roles, sidecars; what it says, checked.

    people:
      - {name: ada, tokenSha256: "<64 hex digits>", roles: [editor]}
      - {name: shop-ci, tokenSha256: "...", roles: [shop]}
    roles:
      shop: [{verbs: [read, apply], kinds: [Listener, Sharding], names: ["shop*"]}]
    issuers:
      - {name: corp, issuer: "https://login.example.org", audience: midstream, rolesClaim: groups, roles: {platform: [editor], "shop-*": [shop]}}
    sidecars:
      - {name: shop, tokenSha256: "...", nodes: ["shop-*"]}
      - {name: orders, certificate: "spiffe://example.org/ns/orders/*", nodes: ["orders-*"], clusters: [orders]}

`midstream token` makes a token and its digest. Tokens are 256 bits of chance, so a digest without salt gives nothing away.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import ip_address
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from mesh_core.model.values import Name, Spec
from xds.store.base import Key

Verb = Literal["read", "apply", "delete", "rollback"]
VERBS: tuple[Verb, ...] = ("read", "apply", "delete", "rollback")


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


class Issuer(Spec):
    """Who signs tokens (JWT) of people: an OpenID provider."""

    name: Name  # before the names of its people, so that they are nobody else's
    issuer: str
    audience: Annotated[str, Field(min_length=1)]
    name_claim: Annotated[str, Field(min_length=1)] = "sub"
    roles_claim: Annotated[str, Field(min_length=1)] = "groups"
    roles: Annotated[dict[str, tuple[Name, ...]], Field(min_length=1)]  # by patterns of the claim's values

    @field_validator("issuer")
    @classmethod
    def _is_private(cls, text: str) -> str:
        return private(text)


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
    issuers: tuple[Issuer, ...] = ()
    sidecars: tuple[SidecarEntry, ...] | None = None

    @field_validator("sidecars", mode="before")
    @classmethod
    def _none_is_nobody(cls, given: object) -> object:
        """`sidecars:` without entries lets nobody in; only without the word they are not asked."""
        return () if given is None else given

    @model_validator(mode="after")
    def _known(self) -> "Rights":
        for index, person in enumerate(self.people):
            self._require_known(person.roles, f"people[{index}].roles")
            if any(other.token_sha256 == person.token_sha256 for other in self.people[:index]):
                raise ValueError(f"people[{index}].tokenSha256: is another one's token; make one with `midstream token`")
        for index, issuer in enumerate(self.issuers):
            self._require_known((role for roles in issuer.roles.values() for role in roles), f"issuers[{index}].roles")
            if any(issuer.name == other.name or issuer.issuer == other.issuer for other in self.issuers[:index]):
                raise ValueError(f"issuers[{index}]: another one has its name or its address already")
        for index, entry in enumerate(self.sidecars or ()):
            if entry.token_sha256 and any(other.token_sha256 == entry.token_sha256 for other in (*self.people, *(self.sidecars or ())[:index])):
                raise ValueError(f"sidecars[{index}].tokenSha256: is another one's token; make one with `midstream token`")
        return self

    def _require_known(self, roles: Iterable[str], where: str) -> None:
        for role in roles:
            if role not in self.roles and role not in ROLES:
                raise ValueError(f"{where}: there is no role {role}; known are {', '.join(sorted({*ROLES, *self.roles}))}")

    def rules(self, roles: Iterable[str]) -> tuple[Rule, ...]:
        """What these roles allow together."""
        known = ROLES | self.roles
        return tuple(rule for role in roles for rule in known[role])


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

    def may_all(self, verb: Verb) -> bool:
        """With objects of every kind and name."""
        return any(verb in rule.verbs and "*" in rule.kinds and "*" in rule.names for rule in self.rules)

    def require_all(self, verb: Verb) -> None:
        """Raises Forbidden."""
        if not self.may_all(verb):
            raise Forbidden(f"{self.name} may not {verb} everything; ask whoever keeps the control plane's access file for a role that covers it")


ANYBODY = Principal("", ROLES["editor"])


def private(text: str) -> str:
    """An address that nobody on the way can answer for. Raises ValueError."""
    url = urlsplit(text)
    if not url.hostname or (url.scheme != "https" and not (url.scheme == "http" and _is_loopback(url.hostname))):
        raise ValueError(f"{text!r} is not https://HOST...; keys that come over the open network prove nothing")
    return text


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
