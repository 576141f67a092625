"""What a client's certificate, which TLS has verified, says of its owner."""

from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import NameOID

SPIFFE = "spiffe://"


class NoIdentity(Exception):
    """A certificate that names nobody; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Certificate:
    identity: str  # the SPIFFE ID, else the common name
    node: str  # the one node it is by itself: the last part of the SPIFFE ID's path, else the common name
    expires: float  # seconds since the epoch


def certificate_of(pem: bytes) -> Certificate:
    """Raises NoIdentity. SPIFFE allows one URI in a certificate and no more (X509-SVID, section 2)."""
    try:
        found = x509.load_pem_x509_certificate(pem)
        identities = _identities(found)
    except ValueError as error:
        raise NoIdentity(f"the certificate cannot be read: {error}") from error
    if len(identities) != 1:
        raise NoIdentity(f"the certificate has {len(identities) or 'no'} names; it needs one SPIFFE ID (a URI), or else one common name")
    return Certificate(identities[0], identities[0].rpartition("/")[2], found.not_valid_after_utc.timestamp())


def _identities(found: x509.Certificate) -> list[str]:
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        spiffe = [uri for uri in names.get_values_for_type(x509.UniformResourceIdentifier) if uri.startswith(SPIFFE)]
    except x509.ExtensionNotFound:
        spiffe = []
    return spiffe or [str(name.value) for name in found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
