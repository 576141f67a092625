"""References to secrets, and the kind Secret. Values never appear in objects: they are read where the sidecar runs."""

from typing import Literal

from pydantic import Field, model_validator

from mesh_core.model.values import Name, Spec


class Source(Spec):
    """Where a value is read: one environment variable or one file of the sidecar's machine."""

    env: str | None = None
    file: str | None = None

    @model_validator(mode="after")
    def _one(self) -> "Source":
        if (self.env is None) == (self.file is None):
            raise ValueError("give exactly one of env and file")
        return self


class SecretRef(Spec):
    """A source, or the name of a Secret object."""

    env: str | None = None
    file: str | None = None
    secret: Name | None = None

    @model_validator(mode="after")
    def _one(self) -> "SecretRef":
        if sum(value is not None for value in (self.env, self.file, self.secret)) != 1:
            raise ValueError("give exactly one of env, file and secret")
        return self


class SecretSpec(Spec):
    """A password or token (`from`), a certificate with its key, or a certificate authority (`ca`)."""

    from_: Source | None = Field(default=None, alias="from")
    certificate: Source | None = None
    key: Source | None = None
    ca: Source | None = None

    @property
    def holds(self) -> Literal["password", "certificate", "ca"]:
        return "password" if self.from_ else "certificate" if self.certificate else "ca"

    @model_validator(mode="after")
    def _one(self) -> "SecretSpec":
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together; give both")
        if sum(value is not None for value in (self.from_, self.certificate, self.ca)) != 1:
            raise ValueError("give exactly one of from, certificate with key, and ca")
        return self


class Credentials(Spec):
    """For the upstream side."""

    user: str = ""
    password_from: SecretRef | None = None


class User(Spec):
    """One user a listener lets in."""

    name: str
    password_from: SecretRef | None = None


class DownstreamTls(Spec):
    """Clients' side. The default mode is optional where the protocol negotiates TLS, else required."""

    mode: Literal["optional", "required"] | None = None
    cert_from: SecretRef
    key_from: SecretRef | None = None  # left out when cert_from names a Secret, which has both
    client_ca_from: SecretRef | None = None
    require_client_cert: bool = False


class UpstreamTls(Spec):
    """Servers' side, in libpq's words."""

    mode: Literal["disable", "require", "verify-ca", "verify-full"] = "verify-full"
    ca_from: SecretRef | None = None
    cert_from: SecretRef | None = None
    key_from: SecretRef | None = None
    server_name: str = ""

    @model_validator(mode="after")
    def _authority(self) -> "UpstreamTls":
        if self.mode.startswith("verify") and self.ca_from is None:
            raise ValueError(f"mode {self.mode} needs caFrom: the certificate authority that signed the server's certificate")
        if self.mode == "disable" and self.ca_from is not None:
            raise ValueError("mode disable verifies nobody; leave caFrom out, or mode, which is verify-full then")
        return self
