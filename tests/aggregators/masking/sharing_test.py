import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_cnn.aggregators.masking import sharing
from tff_cnn.aggregators.masking.sharing import P, restored, split

SECRET = bytes(range(1, 33))


def test_p_is_the_first_prime_above_all_secrets():
    # Miller and Rabin, for the first twenty bases.
    def is_prime(n):
        odd, twos = n - 1, 0
        while odd % 2 == 0:
            odd, twos = odd // 2, twos + 1
        return all(
            (x := pow(base, odd, n)) == 1
            or any(pow(x, 2**i, n) == n - 1 for i in range(twos))
            for base in range(2, 22)
        )

    assert is_prime(P)
    assert not any(is_prime(n) for n in range(2**256, P))


@settings(max_examples=30, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.integers(1, 12), st.data())
def test_any_t_shares_restore_the_secret(secret, num_shares, data):
    threshold = data.draw(st.integers(1, num_shares))
    points = data.draw(
        st.lists(
            st.integers(1, 2**32),
            min_size=num_shares,
            max_size=num_shares,
            unique=True,
        )
    )
    shares = split(secret, threshold, points)
    assert {len(share) for share in shares.values()} == {sharing.SHARE_BYTES}
    chosen = data.draw(
        st.lists(st.sampled_from(points), min_size=threshold, unique=True)
    )
    assert restored({x: shares[x] for x in chosen}, threshold) == secret


def test_of_every_three_of_five_shares_the_secret_follows():
    shares = split(SECRET, 3, range(1, 6))
    for chosen in itertools.combinations(shares, 3):
        assert restored({x: shares[x] for x in chosen}, 3) == SECRET


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32])
def test_fewer_shares_say_nothing(secret):
    """Whatever the secret: two of three that it takes are uniform."""
    first = [int.from_bytes(split(secret, 3, [1, 2, 3])[2]) for _ in range(600)]
    counts, _ = np.histogram([x / P for x in first], 10, (0, 1))
    assert scipy.stats.chisquare(counts).pvalue > 1e-6
    with pytest.raises(ValueError, match="2 shares of a secret of which it"):
        restored(
            {x: s for x, s in split(secret, 3, [1, 2, 3]).items() if x < 3}, 3
        )


def test_too_few_shares_taken_for_enough_restore_another_secret():
    shares = split(SECRET, 3, [1, 2, 3])
    try:
        found = restored({x: shares[x] for x in (1, 2)}, 2)
    except ValueError:  # A number that is no secret at all.
        return
    assert found != SECRET


@pytest.mark.parametrize(
    ("threshold", "points", "said"),
    [
        (3, [1, 2], "a threshold of 3"),
        (0, [1, 2], "a threshold of 0"),
        (2, [1, 1], "a threshold of 2"),
        (1, [0, 1], "the secret itself"),
    ],
)
def test_no_secret_is_split_so_that_it_is_lost_or_given_away(
    threshold, points, said
):
    with pytest.raises(ValueError, match=said):
        split(SECRET, threshold, points)


def test_a_secret_has_32_bytes():
    with pytest.raises(ValueError, match="a secret of 16 bytes"):
        split(bytes(16), 1, [1])
