import numpy as np
import pytest

from tff_cnn.aggregators.masking import graphs, messages, sharing
from tff_cnn.aggregators.masking.client import Client
from tff_cnn.aggregators.masking.rings import Ring
from tff_cnn.aggregators.masking.server import Server

RING = Ring(2**16)
N, T = 4, 3


@pytest.fixture
def masked():
    """Server and clients after phase 2, without client 3."""
    server = Server(graphs.complete(N), dict.fromkeys(range(N), T), RING)
    clients = [Client(u, T, RING) for u in range(N)]
    keys = server.collect_keys({c.index: c.advertise() for c in clients})
    sealed = server.collect_shares(
        {c.index: c.share(keys[c.index]) for c in clients}
    )
    for c in clients[:3]:
        vector = np.full(10, c.index)
        server.add_masked(c.index, c.mask(sealed[c.index], vector))
    return server, clients


def answers(server, clients):
    asked = server.survivors()
    return {u: clients[u].unmask(asked[u]) for u in asked}


def test_the_sum_is_of_those_whose_vectors_came(masked):
    server, clients = masked
    assert server.recovered == {3}
    assert server.unmasked(answers(server, clients)).tolist() == [3] * 10


def test_a_vector_is_taken_once_and_of_who_has_shared(masked):
    server, _ = masked
    for client in (0, 9):
        with pytest.raises(ValueError, match="no masked vector to send"):
            server.add_masked(client, bytes(20))


def test_shares_of_another_key_are_noticed(masked):
    server, clients = masked
    sent = {}
    for u, answer in answers(server, clients).items():
        seeds, keys = messages.rows_of_two(answer, sharing.SHARE_BYTES)
        wrong = {3: sharing.split(bytes(32), T, [1, 2, 3])[u + 1]}
        assert set(keys) == {3}
        sent[u] = messages.two_tables(seeds, wrong)
    with pytest.raises(ValueError, match="of another key"):
        server.unmasked(sent)
