"""The kind Listener: where clients connect, and what they are given there."""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from mesh_core.model.sasl import Sasl
from mesh_core.model.secrets import DownstreamTls, User
from mesh_core.model.values import MAX_PORT, ListenAddress, Name, Spec

_PORTS = re.compile(r"(\d{1,5})-(\d{1,5})")

Auth = Literal["trust", "password", "md5", "scram", "cert", "sasl"]


class ListenerSpec(Spec):
    """Fields beyond the first three belong to some protocols only; see `Protocol.fields`."""

    address: ListenAddress
    socket_mode: Annotated[str, Field(pattern=r"0?[0-7]{3}")] | None = None
    protocol: str
    backend: Name
    auth: Auth | None = None
    users: list[User] = Field(default_factory=list)
    databases: list[str] = Field(default_factory=list)
    admins: list[str] = Field(default_factory=list)
    admin_database: str | None = None
    sasl: Sasl | None = None
    tls: DownstreamTls | None = None
    broker_ports: str | None = None
    broker_hosts: str | None = None
    advertised_host: str | None = None
    advertised_port: Annotated[int, Field(ge=1, le=MAX_PORT)] | None = None

    @field_validator("broker_ports")
    @classmethod
    def _range(cls, text: str | None) -> str | None:
        if text is not None:
            found = _PORTS.fullmatch(text)
            if not found or not 0 < int(found[1]) <= int(found[2]) <= MAX_PORT:
                raise ValueError(f'{text!r} is not a range of ports; write "FIRST-LAST"')
        return text

    @property
    def broker_port_range(self) -> range:
        """Empty where the protocol has no brokers."""
        if self.broker_ports is None:
            return range(0)
        first, last = self.broker_ports.split("-")
        return range(int(first), int(last) + 1)
