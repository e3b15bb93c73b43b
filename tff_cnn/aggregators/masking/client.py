"""A client of the protocol: what it knows, and what it is ready to tell."""

import numpy as np

from tff_cnn.aggregators.masking import keys, masks, messages, sharing
from tff_cnn.aggregators.masking.messages import AbortedError
from tff_cnn.aggregators.masking.rings import Ring

# What a pair agrees on is another secret for each purpose.
_MASK, _CIPHER = b"mask of a pair", b"shares for one"
# Of a nonce, the shares and an authentication tag.
SEALED_BYTES = 12 + 2 * sharing.SHARE_BYTES + 16


class Client:
    """One client u, for one sum. Its methods are called once each, in order.

    Whatever is sent to it comes from the server, which may lie: that a client
    tells both kinds of shares of another client is impossible, whatever it is
    asked.
    """

    def __init__(self, index: int, threshold: int, ring: Ring):
        """Args:
        index: Of the client, >= 0.
        threshold: t: of its holders, which are its neighbours and itself.
        ring: What is computed in.
        """
        self.index = index
        self._threshold = threshold
        self._ring = ring
        self._cipher_key = keys.KeyPair()
        self._mask_key = keys.KeyPair()
        self._own_seed = keys.new_seed()
        self._mask_keys: dict[int, bytes] = {}
        self._ciphers: dict[int, bytes] = {}
        self._own_shares = b""
        self._sealed: dict[int, bytes] = {}
        self._has_answered = False

    def advertise(self) -> bytes:
        """Phase 0: c_u and s_u, the public keys."""
        return self._cipher_key.public + self._mask_key.public

    def share(self, advertised: bytes) -> bytes:
        """Phase 1: what of its two secrets is for each neighbour.

        Args:
          advertised: Table of the keys of its neighbours in U1.

        Raises:
          AbortedError: They are too few.
        """
        found = messages.rows_of(advertised, 2 * keys.PUBLIC_BYTES)
        found.pop(self.index, None)
        self._check_enough(len(found) + 1)
        for v, row in found.items():
            cipher, mask = row[: keys.PUBLIC_BYTES], row[keys.PUBLIC_BYTES :]
            self._ciphers[v] = self._cipher_key.agreed(cipher, _CIPHER)
            self._mask_keys[v] = mask
        points = [v + 1 for v in (*found, self.index)]
        of_key, of_seed = (
            sharing.split(secret, self._threshold, points)
            for secret in (self._mask_key.secret, self._own_seed)
        )
        self._own_shares = of_key[self.index + 1] + of_seed[self.index + 1]
        return messages.table(
            {
                v: keys.sealed(
                    self._ciphers[v],
                    of_key[v + 1] + of_seed[v + 1],
                    messages.ids([self.index, v]),
                )
                for v in found
            }
        )

    def mask(self, sealed: bytes, vector: np.ndarray) -> bytes:
        """Phase 2: y_u.

        Args:
          sealed: Table of what its neighbours in U2 have sealed for it.
          vector: x_u: integers, [m], taken modulo R.

        Raises:
          AbortedError: They are too few.
          ValueError: Somebody is among them who has no key.
        """
        self._sealed = messages.rows_of(sealed, SEALED_BYTES)
        if not self._sealed.keys() <= self._ciphers.keys():
            raise ValueError("shares of somebody who has advertised no key.")
        self._check_enough(len(self._sealed) + 1)
        total = self._ring.reduced(vector)
        masks.add(total, self._own_seed, 1, self._ring)
        for v in self._sealed:
            secret = pair_secret(self._mask_key, self._mask_keys[v])
            masks.add(total, secret, sign(self.index, v), self._ring)
        return self._ring.to_bytes(self._ring.reduced(total))

    def unmask(self, survivors: bytes) -> bytes:
        """Phase 3: shares of b_v for survivors, of s_v^SK for the others.

        Args:
          survivors: Ids of its holders in U3.

        Raises:
          AbortedError: They are too few.
          ValueError: They are not of U2; or it has answered before, and might
            be asked for the other kind of shares now.
        """
        if self._has_answered:
            raise ValueError("a second question would get both kinds.")
        alive = messages.ids_of(survivors)
        known = self._sealed.keys() | {self.index}
        if not alive <= known:
            raise ValueError("survivors that have shared nothing.")
        self._check_enough(len(alive))
        self._has_answered = True
        of_keys, of_seeds = {}, {}
        for v in sorted(known):
            shares = self._shares_of(v)
            if v in alive:
                of_seeds[v] = shares[sharing.SHARE_BYTES :]
            else:
                of_keys[v] = shares[: sharing.SHARE_BYTES]
        return messages.two_tables(of_seeds, of_keys)

    def _shares_of(self, v: int) -> bytes:
        if v == self.index:
            return self._own_shares
        about = messages.ids([v, self.index])
        return keys.opened(self._ciphers[v], self._sealed[v], about)

    def _check_enough(self, count: int) -> None:
        if count < self._threshold:
            raise AbortedError(
                f"client {self.index} has {count} holders left, of "
                f"{self._threshold} that it takes."
            )


def pair_secret(own: keys.KeyPair, public: bytes) -> bytes:
    """What the mask of a pair is expanded from: the same for both."""
    return own.agreed(public, _MASK)


def sign(u: int, v: int) -> int:
    """Of the mask that u and v share in what u sends: opposite for v."""
    return 1 if u < v else -1
