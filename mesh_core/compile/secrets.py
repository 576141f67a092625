"""Secrets by reference, and the TLS and credential messages that name them.

A Secret resource says where its value is, never what it is. A source written in place (`passwordFrom: {env: X}`) becomes a Secret resource of its
own, named after the object and field, so that the data plane knows one way only.
"""

from collections.abc import Iterable, Iterator

from google.protobuf.message import Message

from mesh_core.model.check import secret_refs
from mesh_core.model.kinds import Authored, Compiled, World
from mesh_core.model.secrets import Credentials, DownstreamTls, SecretRef, Source, UpstreamTls, User
from xds.messages import message
from xds.protocol.types import SECRET

_GENERIC = ("password_from", "token_from", "keys_from", "json_schema_from")


def compile_secret(secret: Authored, world: World) -> Iterable[Compiled]:
    """A Secret object. Objects' names have no slash, names of sources written in place do: they cannot meet."""
    spec = secret.spec
    result = message("envoy.extensions.transport_sockets.tls.v3.Secret")(name=secret.name)
    if spec.from_ is not None:
        _set_source(result.generic_secret.secret, spec.from_)
    elif spec.certificate is not None:
        _set_source(result.tls_certificate.certificate_chain, spec.certificate)
        _set_source(result.tls_certificate.private_key, spec.key)
    else:
        _set_source(result.validation_context.trusted_ca, spec.ca)
    return [Compiled(SECRET, secret.name, result, secret)]


def sources_in_place(owner: Authored) -> Iterator[Compiled]:
    """The Secret resources of every source that an object of another kind gives in place."""
    refs = {path: (field, ref) for path, field, ref in secret_refs(owner.spec)}
    for path, (field, ref) in refs.items():
        if ref.secret is not None or field == "key_from":
            continue
        result = message("envoy.extensions.transport_sockets.tls.v3.Secret")(name=_name(owner, path))
        if field == "cert_from":
            _set_source(result.tls_certificate.certificate_chain, ref)
            key = refs.get(path.removesuffix("certFrom") + "keyFrom")
            if key is not None:
                _set_source(result.tls_certificate.private_key, key[1])
        elif field in _GENERIC:
            _set_source(result.generic_secret.secret, ref)
        else:
            _set_source(result.validation_context.trusted_ca, ref)
        yield Compiled(SECRET, result.name, result, owner, path)


def set_credentials(target: Message, owner: Authored, credentials: Credentials | None, field: str = "credentials") -> None:
    """Fill a midstream.core.v1.Credentials from `spec.credentials`, or another field; none given leaves it unset."""
    if credentials is not None:
        target.SetInParent()
        target.user = credentials.user
        target.password_secret = secret_name(owner, f"spec.{field}.passwordFrom", credentials.password_from)


def add_users(target, owner: Authored, users: Iterable[User]) -> None:
    """Fill a repeated midstream.core.v1.User from `spec.users`."""
    for index, user in enumerate(users):
        secret = secret_name(owner, f"spec.users[{index}].passwordFrom", user.password_from)
        target.add(name=user.name, password_secret=secret)


def set_downstream_tls(target: Message, owner: Authored, tls: DownstreamTls | None, *, default_mode: str) -> None:
    """Fill a midstream.core.v1.DownstreamTls from `spec.tls`; none given leaves it unset, which is disabled."""
    if tls is not None:
        target.mode = (tls.mode or default_mode).upper()
        target.certificate_secret = secret_name(owner, "spec.tls.certFrom", tls.cert_from)
        target.client_ca_secret = secret_name(owner, "spec.tls.clientCaFrom", tls.client_ca_from)
        target.require_client_certificate = tls.require_client_cert


def set_upstream_tls(target: Message, owner: Authored, tls: UpstreamTls | None) -> None:
    """Fill a midstream.core.v1.UpstreamTls from `spec.tls`; none given leaves it unset, which is disabled."""
    if tls is not None:
        target.mode = tls.mode.upper().replace("-", "_")
        target.ca_secret = secret_name(owner, "spec.tls.caFrom", tls.ca_from)
        target.certificate_secret = secret_name(owner, "spec.tls.certFrom", tls.cert_from)
        target.server_name = tls.server_name


def secret_name(owner: Authored, path: str, ref: SecretRef | None) -> str:
    """The name of the Secret resource that a reference at `path` stands for; "" for none."""
    if ref is None:
        return ""
    return ref.secret if ref.secret is not None else _name(owner, path)


def _name(owner: Authored, path: str) -> str:
    return f"{owner.kind}/{owner.name}/{path.removeprefix('spec.')}"


def _set_source(target: Message, source: Source | SecretRef) -> None:
    if source.env is not None:
        target.environment_variable = source.env
    else:
        target.filename = source.file
