"""A certificate authority for a test, and what it signs: of any name, expired, for servers and for clients.

Keys are P-256 and made once a process; files lie in one folder.
"""

from __future__ import annotations

import datetime
import functools
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Pair = tuple[str, str]
"""Files of a certificate with its chain, and of its key."""
DAY = datetime.timedelta(days=1)


@functools.cache
def _key(number: int) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)] if text else [])


def _alternative(text: str) -> x509.GeneralName:
    """"sip:..." and other URIs, addresses, and else DNS names."""
    if ":" in text and not text.replace(":", "").isalnum():
        return x509.UniformResourceIdentifier(text)
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


class Authority:
    """`file` is its certificate."""

    def __init__(self, folder: Path, name: str = "Test Authority") -> None:
        self.folder, self.name, self._made = folder, name, 0
        self.file = str(folder / f"{name.replace(' ', '-')}.pem")
        self._ca_key = ec.generate_private_key(ec.SECP256R1())
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        self._ca = (
            self._builder(_name(name), self._ca_key.public_key(), -DAY, 3650 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._ca_key, hashes.SHA256())
        )
        Path(self.file).write_bytes(self._ca.public_bytes(serialization.Encoding.PEM))

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, begins: datetime.timedelta, ends: datetime.timedelta
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(_name(self.name))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins)
            .not_valid_after(now + ends)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._ca_key.public_key()), critical=False
            )
        )

    def sign(
        self,
        *names: str,
        common: str = "",
        expired: bool = False,
        early: bool = False,
        usages: Sequence[str] = ("server", "client"),
    ) -> Pair:
        """A certificate with these subjectAltNames, none at all without any; `common` is its common name. An `early`
        one is valid from tomorrow on."""
        self._made += 1
        key = _key(self._made)
        begins, ends = (-9 * DAY, -DAY) if expired else (DAY if early else -DAY, 365 * DAY)
        oids = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
        builder = self._builder(_name(common), key.public_key(), begins, ends)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([oids[one] for one in usages]), critical=False)
        if names:
            alternatives = x509.SubjectAlternativeName([_alternative(name) for name in names])
            builder = builder.add_extension(alternatives, critical=not common)
        made = builder.sign(self._ca_key, hashes.SHA256())
        chain = self.folder / f"{self.name.replace(' ', '-')}-{self._made}.pem"
        secret = chain.with_suffix(".key")
        chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        secret.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return str(chain), str(secret)
