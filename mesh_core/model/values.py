"""Field types the kinds share: what they accept, and what they become."""

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

MAX_PORT = 65535
MAX_UNIX_PATH = 100  # of 107; a new socket is made under a longer name and moved

_UNIX = "unix:"
_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_DURATION = re.compile(r"(\d+)(ms|s|m|h)")
_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,126}[a-z0-9])?")


class Spec(BaseModel):
    """Base of every authored structure: camelCase names, unknown fields are errors, immutable."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, frozen=True, serialize_by_alias=True)


@dataclass(frozen=True, slots=True)
class HostPort:
    """Where a server is. `host` is a name or an address without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@lru_cache(maxsize=4096)  # every address is compared with every other one
def parse_host_port(text: str, default_port: int | None = None) -> HostPort:
    """ "127.0.0.1:5432", "[::1]:5432", "db.internal". Raises ValueError with what is wrong."""
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        host, port = text, "" if default_port is None else str(default_port)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{text!r} is ambiguous; write an IPv6 address in brackets, like [::1]:5432")
    if not host or re.search(r"[\s/@]", host):
        raise ValueError(f"{text!r} is not host:port")
    if not port:
        raise ValueError(f"{text!r} has no port; write host:port")
    if not port.isdecimal() or int(port) > MAX_PORT:
        raise ValueError(f"{port!r} is not a port (0 to {MAX_PORT})")
    return HostPort(host, int(port))


def parse_duration_ms(text: Any) -> int:
    """ "50ms", "1s", "5m", "1h" -> milliseconds. Raises ValueError."""
    found = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f"{text!r} is not a duration; write a whole number with a unit, like 50ms, 1s, 5m or 1h")
    value = int(found[1]) * _UNITS_MS[found[2]]
    if value >= 2**32:
        raise ValueError(f"{text!r} is longer than 49 days")
    return value


def unix_path(address: str) -> str | None:
    """The path in "unix:/run/midstream/.s.PGSQL.5432"; None for an address with a port. Raises ValueError."""
    if not address.startswith(_UNIX):
        return None
    path = address.removeprefix(_UNIX)
    if not path.startswith("/") or path.endswith("/") or "\0" in path:
        raise ValueError(f"{path!r} is not the absolute path of a socket")
    if len(path.encode()) > MAX_UNIX_PATH:
        raise ValueError(f"{path!r} is longer than {MAX_UNIX_PATH} bytes, which the paths of sockets may not be")
    return path


def _listen_address(text: Any) -> str:
    if not isinstance(text, str):
        raise ValueError('write "ADDRESS:PORT" or "unix:/PATH"')
    if unix_path(text) is not None:
        return text
    where = parse_host_port(text)
    if where.host != "localhost":
        try:
            ip_address(where.host)
        except ValueError:
            raise ValueError(f"{where.host!r} is not an IP address; a listener binds to one of this machine's addresses") from None
    return text


def _host_port(text: Any) -> str:
    if not isinstance(text, str):
        raise ValueError('write "HOST:PORT"')
    if parse_host_port(text).port == 0:
        raise ValueError("a server has no port 0")
    return text


def _duration(text: Any) -> str:
    parse_duration_ms(text)
    return text


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(f"{text!r} is not a name; use up to 128 of a-z, 0-9, '-', '_', '.', beginning and ending with a letter or digit")
    return text


Name = Annotated[str, AfterValidator(_name)]
ListenAddress = Annotated[str, BeforeValidator(_listen_address)]
ServerAddress = Annotated[str, BeforeValidator(_host_port)]
Duration = Annotated[str, BeforeValidator(_duration)]
Percent = Annotated[float, Field(ge=0, le=100)]
