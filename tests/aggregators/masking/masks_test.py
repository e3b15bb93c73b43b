import numpy as np
import pytest
import scipy.stats
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tff_cnn.aggregators.masking import keys, masks
from tff_cnn.aggregators.masking.rings import Ring

SECRET = bytes(range(32))
# Longer than one part of the stream.
SIZE = 40_000


def mask(modulus, secret=SECRET, sign=1, size=SIZE):
    ring = Ring(modulus)
    total = np.zeros(size, ring.dtype)
    masks.add(total, secret, sign, ring)
    return ring.reduced(total)


@pytest.mark.parametrize(
    "modulus", [2**32, 2**27, 2**48, 5, 2**20 - 1, 2**40 + 9]
)
def test_a_mask_is_uniform(modulus):
    found = mask(modulus)
    assert found.max() < modulus
    bins = min(modulus, 50)
    counts, _ = np.histogram(found, bins, (0, modulus))
    if modulus == 5:
        counts = np.bincount(found, minlength=5)
    # Of what is uniform, fewer than one in a million are below.
    assert scipy.stats.chisquare(counts).pvalue > 1e-6
    low = np.bincount((found % 2).astype(int), minlength=2)
    if modulus % 2 == 0:
        assert scipy.stats.chisquare(low).pvalue > 1e-6


@pytest.mark.parametrize("modulus", [2**32, 2**48, 2**20 - 1, 3])
def test_opposite_signs_cancel(modulus):
    ring = Ring(modulus)
    total = (np.arange(SIZE) % modulus).astype(ring.dtype)
    before = total.copy()
    masks.add(total, SECRET, 1, ring)
    assert np.mean(ring.reduced(total) == before) < 0.5
    masks.add(total, SECRET, -1, ring)
    np.testing.assert_array_equal(ring.reduced(total), before)


def test_other_secrets_have_other_masks():
    first, second = mask(2**32), mask(2**32, bytes(32))
    assert np.sum(first == second) < 3
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05


def test_a_mask_is_the_key_stream_of_aes_and_begins_as_a_longer_one():
    key = keys.derived(SECRET, b"mask", 16)
    encryptor = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
    expected = np.frombuffer(encryptor.update(bytes(4 * SIZE)), np.uint32)
    np.testing.assert_array_equal(mask(2**32), expected)
    np.testing.assert_array_equal(mask(2**32, size=100), expected[:100])
