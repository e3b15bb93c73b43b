import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference import secure_sum as reference
from tff_cnn.aggregators.masking import graphs, messages, sharing
from tff_cnn.aggregators.masking.messages import Phase, Transcript
from tff_cnn.aggregators.masking.protocol import SecureSum
from tff_cnn.aggregators.masking.rings import Ring


def run(vectors, modulus, threshold=2 / 3, dropped=None, **options):
    """Outcome and transcript of a sum."""
    graph = options.get("graph") or graphs.complete(len(vectors))
    transcript = Transcript(keeps=True)
    session = SecureSum(graph, threshold, Ring(modulus), dropped, transcript)
    for client, vector in enumerate(vectors):
        session.add(client, vector)
    return session.finish(), transcript


def random_vectors(number, modulus, size=5, seed=0):
    rng = np.random.default_rng(seed)
    return list(rng.integers(0, modulus, [number, size]))


def assert_is_sum(outcome, vectors, clients, modulus):
    assert outcome.summed == set(clients)
    expected = reference.modular_sum([vectors[u] for u in clients], modulus)
    assert outcome.total.tolist() == expected.tolist()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 9),
    st.sampled_from([0.501, 2 / 3, 0.9, 1.0]),
    st.sampled_from([2**32, 2**20 - 1, 2**48, 7]),
    st.data(),
)
def test_the_sum_is_that_of_the_reference_or_aborted(
    number, fraction, modulus, data
):
    phases = st.sampled_from([None, *Phase])
    drawn = data.draw(st.lists(phases, min_size=number, max_size=number))
    dropped = {u: p for u, p in enumerate(drawn) if p is not None}
    vectors = random_vectors(number, modulus)
    outcome, _ = run(vectors, modulus, fraction, dropped)
    threshold = graphs.threshold(fraction, number)
    expected = reference.summed_clients(number, dropped, threshold)
    if expected is None:
        assert outcome.total is None
        assert "left" in outcome.reason
    else:
        assert_is_sum(outcome, vectors, expected, modulus)
        assert outcome.recovered == {
            u for u, p in dropped.items() if p == Phase.MASKED_INPUT
        }


@pytest.mark.parametrize("phase", Phase)
def test_dropouts_are_recovered_up_to_the_threshold(phase):
    vectors = random_vectors(10, 2**30)
    # t is 7 of 10: three may go, and no fourth.
    dropped = dict.fromkeys([0, 4, 9], phase)
    outcome, _ = run(vectors, 2**30, dropped=dropped)
    is_late = phase == Phase.UNMASKING
    clients = [u for u in range(10) if u not in dropped or is_late]
    assert_is_sum(outcome, vectors, clients, 2**30)
    outcome, transcript = run(vectors, 2**30, dropped={**dropped, 5: phase})
    assert outcome.total is None
    assert outcome.reason
    assert_nothing_is_revealed(transcript, 7)


def test_dropouts_of_all_phases_at_once_are_recovered():
    vectors = random_vectors(12, 2**30)
    dropped = {
        0: Phase.ADVERTISE_KEYS,
        3: Phase.SHARE_KEYS,
        4: Phase.MASKED_INPUT,
        7: Phase.MASKED_INPUT,
        11: Phase.UNMASKING,
    }
    outcome, _ = run(vectors, 2**30, 0.51, dropped)
    clients = [1, 2, 5, 6, 8, 9, 10, 11]
    assert_is_sum(outcome, vectors, clients, 2**30)
    assert outcome.recovered == {4, 7}


def revealed(transcript):
    """(client, kind) -> how many shares the server has been told."""
    counts = {}
    for message in transcript.messages:
        if message.is_up and message.phase == Phase.UNMASKING:
            two = messages.rows_of_two(message.content, sharing.SHARE_BYTES)
            for kind, rows in zip(("seed", "key"), two, strict=True):
                for u in rows:
                    counts[u, kind] = counts.get((u, kind), 0) + 1
    return counts


def assert_nothing_is_revealed(transcript, threshold):
    assert all(count < threshold for count in revealed(transcript).values())


def test_the_server_is_told_one_kind_of_shares_of_each_client():
    vectors = random_vectors(8, 2**30)
    dropped = {1: Phase.MASKED_INPUT, 2: Phase.SHARE_KEYS, 3: Phase.UNMASKING}
    _, transcript = run(vectors, 2**30, 0.51, dropped)
    assert {u: kind for u, kind in revealed(transcript)} == {
        **dict.fromkeys([0, 3, 4, 5, 6, 7], "seed"),
        1: "key",
    }
    assert len(revealed(transcript)) == 7


@pytest.mark.parametrize("modulus", [2**32, 2**20 - 1, 1000])
def test_what_the_server_sees_of_a_client_is_uniform(modulus):
    """However structured its vector is."""
    size = 20_000
    ramp = np.arange(size) % modulus
    vectors = [np.zeros(size, np.int64), ramp, np.full(size, modulus - 1)]
    _, transcript = run(vectors, modulus)
    seen = {
        m.client: Ring(modulus).from_bytes(m.content)
        for m in transcript.messages
        if m.is_up and m.phase == Phase.MASKED_INPUT
    }
    for client, masked in seen.items():
        counts, _ = np.histogram(masked, 50, (0, modulus))
        assert scipy.stats.chisquare(counts).pvalue > 1e-6
        # Nor does it follow what it hides, or one another.
        for other in (ramp, *(seen[v] for v in seen if v != client)):
            assert abs(np.corrcoef(masked, other)[0, 1]) < 0.05


def test_two_sums_of_the_same_vectors_have_nothing_else_in_common():
    vectors = random_vectors(4, 2**32, size=2000)
    first, second = (run(vectors, 2**32) for _ in range(2))
    np.testing.assert_array_equal(first[0].total, second[0].total)
    for a, b in zip(first[1].messages, second[1].messages, strict=True):
        assert (a.phase, a.client, len(a.content)) == (
            b.phase,
            b.client,
            len(b.content),
        )
        if a.is_up and a.phase == Phase.MASKED_INPUT:
            found = [np.frombuffer(m.content, np.uint32) for m in (a, b)]
            assert np.sum(found[0] == found[1]) < 3


def test_neighbours_are_enough():
    graph = graphs.regular(30, 8, np.random.default_rng(3))
    vectors = random_vectors(30, 2**31)
    dropped = {
        0: Phase.ADVERTISE_KEYS,
        7: Phase.MASKED_INPUT,
        8: Phase.UNMASKING,
    }
    outcome, transcript = run(vectors, 2**31, 0.6, dropped, graph=graph)
    clients = [u for u in range(30) if u not in (0, 7)]
    assert_is_sum(outcome, vectors, clients, 2**31)
    # Eight times 98 bytes of shares, not twenty-nine.
    assert max(transcript.bytes_up.values()) < 8 * 98 + 64 + 20 + 9 * 37 + 8
    # Four of the nine who hold a client's shares are too few of six.
    gone = dict.fromkeys(graph[3][:4], Phase.MASKED_INPUT)
    outcome, transcript = run(vectors, 2**31, 0.6, gone, graph=graph)
    assert outcome.total is None
    assert not revealed(transcript)


def test_bytes_are_those_of_the_messages():
    n, size = 5, 100
    _, transcript = run(random_vectors(n, 2**24, size), 2**24)
    others = n - 1
    up = 64 + others * (4 + 12 + 66 + 16) + 3 * size + 4 + n * (4 + 33)
    down = others * (4 + 64) + others * (4 + 94) + n * 4
    assert transcript.bytes_up == dict.fromkeys(range(n), up)
    assert transcript.bytes_down == dict.fromkeys(range(n), down)
    assert Transcript().messages == []


def test_one_client_is_its_own_sum():
    (vector,) = vectors = random_vectors(1, 2**30)
    outcome, _ = run(vectors, 2**30)
    assert outcome.total.tolist() == vector.tolist()


def test_negative_numbers_are_taken_modulo_r():
    outcome, _ = run([np.int32([-1, 5]), np.int64([-3, 2])], 2**20 - 1)
    assert outcome.total.tolist() == [2**20 - 1 - 4, 7]
