"""TLS of the gRPC server, from PEM files that are read again when they change: nothing is restarted for a new certificate.

A file that has become unreadable or wrong leaves the last good ones in force.
"""

import ssl
import threading
from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog

from xds.stamp import stamps

log = structlog.get_logger("xds.server")


@dataclass(frozen=True, slots=True)
class Tls:
    """`client_ca`: clients have to show a certificate of this authority."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(path for path in (self.certificate, self.key, self.client_ca) if path is not None)


class _Files:
    """Asked at every handshake, by threads of gRPC."""

    def __init__(self, tls: Tls):
        """Raises ValueError."""
        self._tls = tls
        self._lock = threading.Lock()
        self._seen = stamps(tls.files)
        self.first = self._read()

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """What is to be used from now on; None: what was used before."""
        with self._lock:
            found = stamps(self._tls.files)
            if found == self._seen:
                return None
            self._seen = found
            try:
                found = self._read()
            except ValueError as error:
                log.error("changed certificates refused; the last good ones stay in force", reason=str(error))
                return None
            log.info("certificates read again", files=[str(path) for path in self._tls.files])
            return found

    def _read(self) -> grpc.ServerCertificateConfiguration:
        tls = self._tls
        try:
            # gRPC tells of a wrong file when somebody connects, and then not why.
            check = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            check.load_cert_chain(tls.certificate, tls.key)
            if tls.client_ca is not None:
                check.load_verify_locations(tls.client_ca)
            pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
            return grpc.ssl_server_certificate_configuration([pair], tls.client_ca.read_bytes() if tls.client_ca else None)
        except (OSError, ssl.SSLError) as error:
            raise ValueError(f"cannot use {', '.join(map(str, tls.files))} for TLS: {error}") from error


def credentials(tls: Tls) -> grpc.ServerCredentials:
    """Raises ValueError where the files are not right now."""
    files = _Files(tls)
    return grpc.dynamic_ssl_server_credentials(files.first, files.changed, require_client_authentication=tls.client_ca is not None)
