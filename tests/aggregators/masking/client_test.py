import numpy as np
import pytest

from tff_cnn.aggregators.masking import messages, sharing
from tff_cnn.aggregators.masking.client import Client
from tff_cnn.aggregators.masking.messages import AbortedError
from tff_cnn.aggregators.masking.rings import Ring

RING = Ring(2**16)
SHARE = sharing.SHARE_BYTES
T = 3
N = 4


@pytest.fixture
def clients():
    """All of four, after phase 1; and what each has sealed for the others."""
    found = [Client(u, T, RING) for u in range(N)]
    advertised = {u: c.advertise() for u, c in enumerate(found)}
    rows = {
        u: messages.rows_of(c.share(messages.table(advertised)), 94)
        for u, c in enumerate(found)
    }
    return found, rows


def sealed_for(rows, u, among=range(N)):
    return messages.table({v: rows[v][u] for v in among if v != u})


def masked(clients, among=range(N)):
    """Clients after phase 2, with vectors of zeros."""
    found, rows = clients
    vectors = {
        u: RING.from_bytes(
            found[u].mask(sealed_for(rows, u, among), np.zeros(50, np.int64))
        )
        for u in among
    }
    return found, vectors


def answer(client, survivors):
    """Clients whose (seeds, keys) it tells shares of."""
    sent = client.unmask(messages.ids(survivors))
    seeds, keys = messages.rows_of_two(sent, SHARE)
    return set(seeds), set(keys)


def test_of_no_client_both_kinds_of_shares_are_told(clients):
    found, _ = masked(clients)
    assert answer(found[0], [0, 1, 2]) == ({0, 1, 2}, {3})
    assert answer(found[1], [0, 1, 2, 3]) == ({0, 1, 2, 3}, set())
    for client in found[:2]:
        with pytest.raises(ValueError, match="both kinds"):
            client.unmask(messages.ids([0, 1, 3]))


def test_a_server_that_lies_to_some_has_too_few_of_either_kind(clients):
    """It wants both secrets of client 3, and tells different survivors."""
    found, _ = masked(clients)
    of_seed, of_key = {}, {}
    for client, survivors in zip(
        found, ([0, 1, 2, 3], [0, 1, 2], [0, 1, 2, 3], [0, 1, 2]), strict=True
    ):
        seeds, keys = messages.rows_of_two(
            client.unmask(messages.ids(survivors)), SHARE
        )
        for kind, rows in ((of_seed, seeds), (of_key, keys)):
            if 3 in rows:
                kind[client.index + 1] = rows[3]
    assert min(len(of_seed), len(of_key)) < T
    with pytest.raises(ValueError, match="2 shares of a secret"):
        sharing.restored(min(of_seed, of_key, key=len), T)


def test_too_few_survivors_are_told_nothing(clients):
    found, _ = masked(clients)
    with pytest.raises(AbortedError, match="has 2 holders left, of 3"):
        found[0].unmask(messages.ids([0, 1]))


def test_survivors_that_shared_nothing_are_refused(clients):
    found, _ = masked(clients, among=[0, 1, 2])
    with pytest.raises(ValueError, match="that have shared nothing"):
        found[0].unmask(messages.ids([0, 1, 2, 3]))


def test_too_few_that_share_are_sent_nothing(clients):
    found, rows = clients
    with pytest.raises(AbortedError):
        found[0].mask(sealed_for(rows, 0, [0, 1]), np.zeros(3, np.int64))
    alone = Client(0, T, RING)
    with pytest.raises(AbortedError):
        alone.share(messages.table({1: found[1].advertise()}))


def test_shares_of_a_stranger_are_refused(clients):
    found, rows = clients
    strange = sealed_for(rows, 0) + messages.table({9: rows[1][0]})
    with pytest.raises(ValueError, match="advertised no key"):
        found[0].mask(strange, np.zeros(3, np.int64))


def test_shares_that_were_swapped_on_the_way_are_noticed(clients):
    found, rows = clients
    swapped = {1: rows[2][0], 2: rows[1][0], 3: rows[3][0]}
    found[0].mask(messages.table(swapped), np.zeros(3, np.int64))
    with pytest.raises(Exception) as caught:
        found[0].unmask(messages.ids([0, 1, 2, 3]))
    assert type(caught.value).__name__ == "InvalidTag"


def test_masks_cancel_but_for_each_ones_own(clients):
    found, vectors = masked(clients)
    total = np.zeros(50, RING.dtype)
    for vector in vectors.values():
        assert np.mean(vector == 0) < 0.2
        RING.add(total, vector)
    from tff_cnn.aggregators.masking import masks

    for client in found:
        masks.add(total, client._own_seed, -1, RING)
    assert not RING.reduced(total).any()
