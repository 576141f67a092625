"""What a client shows to its servers, and whom it trusts: files, read again for every connection, and watched, so that nothing is restarted."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from xds.stamp import stamps

if TYPE_CHECKING:
    import grpc

# A file that is replaced is seen within this.
LOOK_EVERY_S = 1.0
MAX_TOKEN = 16 * 1024  # bytes of its file; servers take some kilobytes of metadata


class Unusable(Exception):
    """A file cannot be read; the text says which."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Without `ca` servers are spoken to without TLS, which is for this machine only. `certificate` and `key` go together. All PEM."""

    token: Path | None = None
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def problem(self, hosts: Iterable[str]) -> str:
        """Why these cannot be shown to these hosts; empty where they can."""
        if (self.certificate is None) != (self.key is None):
            return "a certificate and its key go together; give both"
        if self.certificate is not None and self.ca is None:
            return "a certificate is shown over TLS only; give the authority of the control planes' certificates too"
        far = [host for host in hosts if not _is_this_machine(host)]
        if self.token is not None and self.ca is None and far:
            return f"a token is not sent to {far[0]} without TLS; give the authority of its certificate"
        return ""

    def channel(self, target: str, options: tuple[tuple[str, int], ...]) -> "grpc.aio.Channel":
        """Raises Unusable."""
        import grpc  # a command line names credentials without loading it

        if self.ca is None:
            return grpc.aio.insecure_channel(target, options=options)
        key, chain = (_read(self.key), _read(self.certificate)) if self.certificate and self.key else (None, None)
        return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(_read(self.ca), key, chain), options=options)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Raises Unusable."""
        if self.token is None:
            return ()
        token = _read(self.token)[:MAX_TOKEN].decode("ascii", "replace").strip()
        if not token.isascii() or not token.isprintable():
            raise Unusable(f"{self.token} holds no token")
        return (("authorization", f"Bearer {token}"),)

    async def change(self) -> None:
        """Returns when one of the files is another one than at the call; never without files."""
        files = [path for path in (self.token, self.ca, self.certificate, self.key) if path is not None]
        seen = stamps(files)
        if not files:
            await asyncio.Event().wait()
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if seen != stamps(files):
                return


NONE = Credentials()


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Unusable(f"{path} cannot be read: {error.strerror}") from error
