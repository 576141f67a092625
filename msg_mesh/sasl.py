"""Who is let in at a Kafka listener, and what the sidecar proves to brokers that it is."""

from collections.abc import Iterable, Iterator
from typing import Self

from google.protobuf.message import Message
from pydantic import Field, model_validator

from mesh_core.compile.secrets import add_users, secret_name
from mesh_core.model.builtin import is_local
from mesh_core.model.kinds import Authored, World
from mesh_core.model.problem import Problem
from mesh_core.model.sasl import Mechanism, Sasl
from mesh_core.model.secrets import SecretRef
from mesh_core.model.values import Spec, parse_duration_ms
from xds.messages import enum_values

AUTHS = frozenset({"trust", "cert", "sasl"})
_MODES = {"trust": "TRUST", "cert": "CERTIFICATE", "sasl": "SASL"}
_BY_PASSWORD: list[Mechanism] = ["plain", "scram-sha-256", "scram-sha-512"]
_IN_CLEAR = ("plain", "oauthbearer")


class KafkaCredentials(Spec):
    """A user with its password, or a token, which is read anew when its file changes."""

    mechanism: Mechanism
    user: str = ""
    password_from: SecretRef | None = None
    token_from: SecretRef | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.mechanism == "oauthbearer":
            if self.token_from is None or self.user or self.password_from is not None:
                raise ValueError("oauthbearer needs tokenFrom, and has neither user nor passwordFrom")
        elif not self.user or self.password_from is None or self.token_from is not None:
            raise ValueError(f"{self.mechanism} needs user and passwordFrom, and has no tokenFrom")
        return self


class KafkaPrincipal(Spec):
    """What the sidecar logs in with for the clients of one identity ("user:ann")."""

    identity: str = Field(min_length=1)
    credentials: KafkaCredentials


def check_cluster(owner: Authored, world: World) -> Iterator[Problem]:
    spec = owner.spec
    if spec.principals and spec.credentials is None:
        advice = "add credentials: the sidecar's own questions need them, and clients who are none of the principals"
        yield owner.problem("spec.principals", "are given without credentials", advice)
    known: set[str] = set()
    for index, principal in enumerate(spec.principals):
        if principal.identity in known:
            yield owner.problem(f"spec.principals[{index}].identity", f"two are for {principal.identity}", "keep one")
        known.add(principal.identity)


def check_listener(listener: Authored, world: World) -> Iterator[Problem]:
    """SASL has something to check proofs against, and shows secrets to nobody on the way."""
    spec = listener.spec
    if spec.auth == "sasl":
        yield from _sasl(listener)
    elif spec.sasl is not None or spec.users:
        yield listener.problem("spec.sasl" if spec.sasl is not None else "spec.users", "are for auth: sasl only", "add auth: sasl")
    tenant = world.get("KafkaVirtualCluster", spec.backend)
    several = world.get("KafkaFederation", spec.backend)
    home = several.spec.clusters[0].cluster if several else spec.backend
    cluster = world.get("KafkaCluster", tenant.spec.cluster if tenant else home)
    if spec.auth is None and cluster is not None and cluster.spec.credentials is not None and not is_local(spec.address):
        reason = f"{spec.address} can be reached from other machines, where everybody would use the credentials of KafkaCluster {cluster.name}"
        yield listener.problem("spec.address", reason, "add auth (trust, if that is meant), or listen on 127.0.0.1")


def _sasl(listener: Authored) -> Iterator[Problem]:
    spec = listener.spec
    mechanisms = _mechanisms(listener)
    by_password = [name for name in mechanisms if name in _BY_PASSWORD]
    if not mechanisms:
        yield listener.problem("spec.auth", "sasl without users and tokens lets nobody in", "list users with passwordFrom, or add sasl.tokens")
    if by_password and not spec.users:
        yield listener.problem("spec.sasl.mechanisms", f"{by_password[0]} without users lets nobody in", "list users with passwordFrom")
    for index, user in enumerate(spec.users):
        if user.password_from is None:
            yield listener.problem(f"spec.users[{index}]", f"sasl needs a password for {user.name}", "add passwordFrom")
    in_clear = [name for name in mechanisms if name in _IN_CLEAR]
    if in_clear and spec.tls is None and not is_local(spec.address):
        reason = f"{in_clear[0]} shows secrets to everybody between {spec.address} and its clients"
        yield listener.problem("spec.sasl.mechanisms", reason, "add tls, or offer scram-sha-512 only")


def _mechanisms(listener: Authored) -> list[Mechanism]:
    """Those given, or all that users and tokens serve."""
    sasl = listener.spec.sasl or Sasl()
    if sasl.mechanisms is not None:
        return sasl.mechanisms
    return [*(_BY_PASSWORD if listener.spec.users else []), *(["oauthbearer"] if sasl.tokens is not None else [])]


def set_authentication(target: Message, listener: Authored) -> None:
    """Fill a midstream.kafka.v1.KafkaAuthentication; no auth given leaves it unset."""
    spec = listener.spec
    if spec.auth is None:
        return
    target.mode = _MODES[spec.auth]
    if spec.auth != "sasl":
        return
    sasl = spec.sasl or Sasl()
    target.mechanisms.extend(_number(name) for name in _mechanisms(listener))
    add_users(target.users, listener, spec.users)
    target.login_timeout_ms = parse_duration_ms(sasl.login_timeout)
    if sasl.session_lifetime is not None:
        target.session_lifetime_ms = parse_duration_ms(sasl.session_lifetime)
    if sasl.tokens is not None:
        tokens = target.tokens
        tokens.keys_secret = secret_name(listener, "spec.sasl.tokens.keysFrom", sasl.tokens.keys_from)
        tokens.issuer = sasl.tokens.issuer
        tokens.audiences.extend(sasl.tokens.audiences)
        tokens.claims.update(sasl.tokens.claims)
        tokens.identity_claim = sasl.tokens.identity_claim
        tokens.leeway_ms = parse_duration_ms(sasl.tokens.leeway)


def set_credentials(target: Message, owner: Authored, credentials: KafkaCredentials | None, path: str) -> None:
    """Fill a midstream.kafka.v1.KafkaCredentials; none given leaves it unset."""
    if credentials is None:
        return
    target.mechanism = _number(credentials.mechanism)
    target.user = credentials.user
    field, ref = ("tokenFrom", credentials.token_from) if credentials.token_from else ("passwordFrom", credentials.password_from)
    target.secret = secret_name(owner, f"{path}.{field}", ref)


def add_principals(target, owner: Authored, principals: Iterable[KafkaPrincipal]) -> None:
    """Fill a repeated midstream.kafka.v1.KafkaPrincipal."""
    for index, principal in enumerate(principals):
        added = target.add(identity=principal.identity)
        set_credentials(added.credentials, owner, principal.credentials, f"spec.principals[{index}].credentials")


def _number(name: Mechanism) -> int:
    return enum_values("midstream.kafka.v1.KafkaMechanism")[name.upper().replace("-", "_")]
