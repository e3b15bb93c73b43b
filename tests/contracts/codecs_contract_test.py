"""Every codec alone, and some behind one another.

Whatever is registered as one is tested here, unasked.
"""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.aggregators.compression import payloads
from tff_cnn import runtime
from tff_cnn.aggregators import (
    AGGREGATORS,
    LowRank,
    OneBit,
    Quantize,
    RandomK,
    Rotate,
    TopK,
    codecs,
    encoded,
    order,
)
from tff_cnn.aggregators.codecs import Codecs, Seeds
from tff_cnn.aggregators.encoded import EncodedFactory
from tff_cnn.aggregators.mean import build_mean

SHAPES = ((3, 3, 2, 10), (10,), (21, 12), ())
SIZE = sum(int(np.prod(shape)) for shape in SHAPES)

PARTS = {
    entry.name: (entry.options(),)
    for entry in AGGREGATORS.entries
    if order.stage_of(entry) in order.ENCODED
} | {
    "drive": (Rotate(), OneBit(one_bit_scale="drive")),
    "eden": (Rotate(), Quantize(quantize_bits=3, quantize_levels="eden")),
    "top_k+quantize": (TopK(top_k_fraction=0.1), Quantize(quantize_bits=4)),
    "low_rank+nearest": (
        LowRank(matrix_rank=2),
        Quantize(quantize_bits=6, quantize_rounding="nearest"),
    ),
    "random_k+one_bit": (RandomK(), OneBit()),
    "top_k+rotate+one_bit": (TopK(top_k_fraction=0.2), Rotate(), OneBit()),
}

# Graphs take seconds; chains have no operations that their parts have not.
TOGETHER = [name for name in PARTS if len(PARTS[name]) == 1] + ["eden"]


@pytest.fixture(params=PARTS)
def parts(request):
    return PARTS[request.param]


@pytest.fixture
def chosen(parts):
    return Codecs([AGGREGATORS.build(part) for part in parts])


def update(seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    return [
        tf.constant(scale * rng.standard_normal(shape), tf.float32)
        for shape in SHAPES
    ]


def vector(leaves) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in leaves])


def seeds(number=0):
    return Seeds(
        tf.constant([number, 0], tf.int64), tf.constant([7, number], tf.int64)
    )


@dataclasses.dataclass(frozen=True)
class Received:
    """A codec whose server has the bytes that were sent, and no others."""

    codec: codecs.Codec

    def encode(self, leaves, seeds):
        left, beside = self.codec.encode(leaves, seeds)
        sent = 0
        for tensor in tf.nest.flatten(beside):
            whole = tensor.dtype != tf.uint8
            sent += (
                tensor.numpy().nbytes
                if whole
                else len(payloads.as_sent(tensor))
            )
        counted = self.codec.num_bytes(beside)
        # A code of fixed length may end with bytes that are zero.
        assert sent <= counted.numpy()
        return left, tf.nest.map_structure(
            lambda x: payloads.received(x) if x.dtype == tf.uint8 else x,
            beside,
        )

    def decode(self, *arguments):
        return self.codec.decode(*arguments)

    def num_bytes(self, beside):
        return self.codec.num_bytes(beside)


def test_the_server_reads_no_more_than_what_was_sent(chosen):
    given = update()
    found, size = chosen.transmitted(given, seeds())
    received = Codecs([Received(codec) for codec in chosen.parts])
    again, same_size = received.transmitted(given, seeds())
    np.testing.assert_array_equal(vector(found), vector(again))
    assert size == same_size
    assert [x.shape for x in found] == [tf.TensorShape(s) for s in SHAPES]
    assert size.dtype == tf.int64


def test_nothing_is_sent_as_nothing(chosen):
    found, _ = chosen.transmitted(update(scale=0), seeds())
    np.testing.assert_array_equal(vector(found), np.zeros(SIZE))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_sent_as_zeros(chosen, bad):
    given = update()
    given[1] = tf.tensor_scatter_nd_update(given[1], [[3]], [bad])
    found, _ = chosen.transmitted(given, seeds())
    np.testing.assert_array_equal(vector(found), np.zeros(SIZE))


@pytest.mark.parametrize("scale", [1e25, 1e-25])
def test_size_does_not_matter(chosen, scale):
    """Codes are of what is divided by its size: nothing over- or underflows."""
    expected, size = chosen.transmitted(update(), seeds())
    found, other = chosen.transmitted(update(scale=scale), seeds())
    np.testing.assert_allclose(
        vector(found) / np.float32(scale),
        vector(expected),
        # Rounding, and where that falls to another level.
        atol=1e-4,
        err_msg=str(chosen),
    )
    assert abs(int(size) - int(other)) <= 8


def test_one_huge_coordinate_stays_finite(chosen):
    given = update()
    given[1] = tf.tensor_scatter_nd_update(given[1], [[3]], [1e25])
    found, _ = chosen.transmitted(given, seeds())
    assert np.isfinite(vector(found)).all()
    # Scaled random numbers of a tenth: at most ten times as large.
    assert np.linalg.norm(np.float64(vector(found))) < 1.001e26


def test_a_code_is_a_function_of_its_seeds(chosen):
    given = update()
    first, size = chosen.transmitted(given, seeds(1))
    again, _ = chosen.transmitted(given, seeds(1))
    np.testing.assert_array_equal(vector(first), vector(again))
    assert 0 < size <= 4 * SIZE + 4 * 63  # A rotation fills up.


@pytest.mark.parametrize("name", TOGETHER)
def test_clients_are_encoded_together_as_alone(name):
    """Vectorized, by the runtime's rules: in what they get and in bytes."""
    parts = PARTS[name]
    chosen = Codecs([AGGREGATORS.build(part) for part in parts])
    type_ = tff.to_type([tff.TensorType(np.float32, s) for s in SHAPES])
    process = EncodedFactory(chosen, build_mean()).create(
        type_, tff.TensorType(np.float32)
    )
    clients = [update(seed) for seed in range(3)]
    with runtime.use("in_process", clients_per_step=3):
        # A weight of its own alone: a mean would hide what differs.
        output = process.next(
            process.initialize(), clients, list(np.float32([0, 1, 0]))
        )
        assert runtime.current().schedule.last_size == 3
    alone = [chosen.transmitted(given, first_seeds(given)) for given in clients]
    for found, expected in zip(output.result, alone[1][0], strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    size = sum(int(size) + 4 for _, size in alone)
    assert abs(int(output.measurements["bytes_up"]) - size) <= 4


def first_seeds(given) -> Seeds:
    """Those of a first round."""
    number = tf.constant(0, tf.int64)
    return Seeds(encoded.shared_seed(number), encoded.own_seed(given, number))
