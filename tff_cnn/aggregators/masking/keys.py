"""Key agreement and encryption, all of the `cryptography` package.

KA   X25519, its result hashed by HKDF with SHA-256 (RFC 7748, RFC 5869)
AE   AES-128 in Galois counter mode, with random nonces of 96 bits
"""

import os

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import (
    X25519PrivateKey,
    X25519PublicKey,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SECRET_BYTES = 32
PUBLIC_BYTES = 32
_NONCE_BYTES = 12
_KEY_BYTES = 16


class KeyPair:
    """A key pair of X25519."""

    def __init__(self, secret: bytes | None = None):
        """Args:
        secret: 32 bytes; None draws a new one.
        """
        if secret is None:
            self._key = X25519PrivateKey.generate()
        else:
            self._key = X25519PrivateKey.from_private_bytes(secret)

    @property
    def secret(self) -> bytes:
        """32 bytes: nobody's business but that of who shares it."""
        return self._key.private_bytes_raw()

    @property
    def public(self) -> bytes:
        """32 bytes."""
        return self._key.public_key().public_bytes_raw()

    def agreed(self, public: bytes, purpose: bytes) -> bytes:
        """The secret of two: 32 bytes.

        Args:
          public: Of the other.
          purpose: What it is for; others have nothing to do with it.

        Raises:
          ValueError: It is no key that anybody can have.
        """
        shared = self._key.exchange(X25519PublicKey.from_public_bytes(public))
        return derived(shared, purpose, SECRET_BYTES)


def new_seed() -> bytes:
    """32 random bytes that nobody can guess."""
    return os.urandom(SECRET_BYTES)


def derived(secret: bytes, purpose: bytes, size: int) -> bytes:
    """HKDF: `size` bytes that say nothing of the secret, nor of one another."""
    return HKDF(hashes.SHA256(), size, salt=None, info=purpose).derive(secret)


def sealed(secret: bytes, text: bytes, about: bytes) -> bytes:
    """A text encrypted and authenticated, with what it is about.

    Args:
      secret: As agreed.
      text: What is to be kept from others.
      about: What whoever opens it has to know already.
    """
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + _cipher(secret).encrypt(nonce, text, about)


def opened(secret: bytes, sent: bytes, about: bytes) -> bytes:
    """The text that was sealed.

    Raises:
      cryptography.exceptions.InvalidTag: It was changed, or is about
        something else.
    """
    nonce, text = sent[:_NONCE_BYTES], sent[_NONCE_BYTES:]
    return _cipher(secret).decrypt(nonce, text, about)


def _cipher(secret: bytes) -> AESGCM:
    return AESGCM(derived(secret, b"seal", _KEY_BYTES))
