"""The authority: a root, an intermediate and the certificate that webhooks are signed with, all made for one run.

Keys are drawn by the cryptography library; nothing that is stored or compared depends on them.
"""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

SIGNER = "messageverificationcerts.paypal.com"
DAYS = 365


@dataclass
class Authority:
    """Certificates that hold from `since` (epoch ms) for `days`. `signer` is the name in the signing one."""

    since: int
    days: int = DAYS
    signer: str = SIGNER
    key_size: int = 2048
    root: x509.Certificate = field(init=False)
    middle: x509.Certificate = field(init=False)
    leaf: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        root_key, middle_key, self._key = (
            rsa.generate_private_key(65537, size) for size in (2048, 2048, self.key_size)
        )
        self.root = self._certificate("Lab Root", root_key, "Lab Root", root_key, 1)
        self.middle = self._certificate("Lab Intermediate", middle_key, "Lab Root", root_key, 2)
        self.leaf = self._certificate(
            self.signer, self._key, "Lab Intermediate", middle_key, 3, may_sign=False
        )

    @property
    def bundle(self) -> bytes:
        """The root (PEM), to be pinned."""
        return self.root.public_bytes(serialization.Encoding.PEM)

    @property
    def chain(self) -> bytes:
        """The signing certificate and the intermediate (PEM), as they are served."""
        return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in (self.leaf, self.middle))

    @property
    def key(self) -> bytes:
        """The signing certificate's key (PEM), for a server that speaks TLS in its name."""
        return self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def signature(self, transmission: str, time: str, webhook_id: str, body: bytes) -> str:
        """The signature of a webhook, as PayPal makes it."""
        message = f"{transmission}|{time}|{webhook_id}|{zlib.crc32(body)}".encode()
        return base64.b64encode(self._key.sign(message, PKCS1v15(), SHA256())).decode()

    def _certificate(
        self,
        name: str,
        key: rsa.RSAPrivateKey,
        issuer: str,
        issuer_key: rsa.RSAPrivateKey,
        number: int,
        *,
        may_sign: bool = True,
    ) -> x509.Certificate:
        begins = datetime.fromtimestamp(self.since / 1000, UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_named(name))
            .issuer_name(_named(issuer))
            .public_key(key.public_key())
            .serial_number(number)
            .not_valid_before(begins)
            .not_valid_after(begins + timedelta(days=self.days))
            .add_extension(x509.BasicConstraints(ca=may_sign, path_length=None), critical=True)
        )
        if not may_sign:
            names = (
                name,
                "api.paypal.com",
                "api-m.paypal.com",
                "api.sandbox.paypal.com",
                "api-m.sandbox.paypal.com",
            )
            shown = names if name.endswith(".paypal.com") else (name,)
            builder = builder.add_extension(
                x509.SubjectAlternativeName([x509.DNSName(one) for one in shown]), critical=False
            )
        return builder.sign(issuer_key, SHA256())


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
