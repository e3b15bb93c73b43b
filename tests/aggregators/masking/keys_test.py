import pytest
from cryptography.exceptions import InvalidTag

from tff_cnn.aggregators.masking import keys
from tff_cnn.aggregators.masking.keys import KeyPair


def test_two_agree_and_a_third_does_not():
    a, b, c = KeyPair(), KeyPair(), KeyPair()
    secret = a.agreed(b.public, b"x")
    assert secret == b.agreed(a.public, b"x")
    assert len(secret) == keys.SECRET_BYTES
    others = {
        a.agreed(b.public, b"y"),
        a.agreed(c.public, b"x"),
        c.agreed(b.public, b"x"),
    }
    assert len(others) == 3
    assert secret not in others


def test_a_key_pair_is_its_secret():
    pair = KeyPair()
    assert KeyPair(pair.secret).public == pair.public
    assert KeyPair().secret != pair.secret


def test_a_public_key_of_small_order_is_refused():
    with pytest.raises(ValueError, match="shared key"):
        KeyPair().agreed(bytes(32), b"x")


def test_what_is_sealed_is_opened_by_whom_it_is_for_alone():
    secret, text = keys.new_seed(), b"a share"
    sent = keys.sealed(secret, text, b"1 to 2")
    assert keys.opened(secret, sent, b"1 to 2") == text
    assert text not in sent
    assert keys.sealed(secret, text, b"1 to 2") != sent
    changed = bytes([sent[0] ^ 1]) + sent[1:]
    for other in (
        (keys.new_seed(), sent, b"1 to 2"),
        (secret, sent, b"2 to 1"),
        (secret, changed, b"1 to 2"),
    ):
        with pytest.raises(InvalidTag):
            keys.opened(*other)
