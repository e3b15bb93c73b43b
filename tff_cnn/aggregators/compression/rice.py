"""Golomb-Rice codes of numbers and of sets of indices.

Rice 1979, after Golomb 1966: a number x >= 0 is sent as x mod 2**l in l bits,
and floor(x / 2**l) as so many zeros with a 1 behind them. Of numbers that are
geometrically distributed no code is shorter by more than 3 %, where

    2**l is near ln(2) mean(x)                    (`parameter`)

Here all remainders come first and all quotients after them, so that a place in
the message is a sum, and no number has to be read before the next.
"""

import math

import tensorflow as tf

from tff_cnn.aggregators.compression import bits

_LN2 = math.log(2.0)


def put_quotients(
    quotients: tf.Tensor, is_there: tf.Tensor, start: tf.Tensor, words: int
) -> tf.Tensor:
    """Each as so many zeros with a 1 behind them.

    Args:
      quotients: int32, [n], >= 0.
      is_there: bool, [n]: which of them are sent; these come first.
      start: int32, scalar: of the first one's first bit.
      words: As of `bits.num_words`.

    Returns:
      As of `bits.put`.
    """
    ends = start + tf.cumsum(tf.where(is_there, quotients + 1, 0)) - 1
    return bits.put(tf.ones_like(quotients, tf.int64), ends, is_there, words)


def get_quotients(
    message: tf.Tensor, start: tf.Tensor, count: int
) -> tf.Tensor:
    """What `put_quotients` was given.

    Args:
      message: uint8.
      start: As of `put_quotients`.
      count: How many there are at most.

    Returns:
      int32, [count]; behind the last that was sent no numbers of a meaning.
    """
    single = bits.single_bits(message)
    places = tf.range(single.shape[0])
    is_end = (single > 0) & (places >= start)
    rank = tf.cumsum(tf.cast(is_end, tf.int32)) - 1
    numbers = tf.where(is_end & (rank < count), rank, -1)
    ends = tf.math.unsorted_segment_sum(places, numbers, count)
    before = tf.concat([[start - 1], ends[:-1]], 0)
    return ends - before - 1


def parameter(mean: float) -> int:
    """l for numbers of this mean, >= 0."""
    return max(0, round(math.log2(max(_LN2 * mean, 1.0))))


def found_parameter(
    values: tf.Tensor, count: tf.Tensor, highest: int
) -> tf.Tensor:
    """l for numbers that are there: int32, scalar, from 0 to `highest`.

    Args:
      values: int32, [n]; 0 where they are not sent.
      count: int32, scalar: how many are sent.
      highest: No more bits than these.
    """
    total = tf.reduce_sum(tf.cast(values, tf.float64))
    mean = tf.math.divide_no_nan(total, tf.cast(count, tf.float64))
    exponent = tf.math.log(tf.maximum(_LN2 * mean, 1.0)) / _LN2
    return tf.minimum(tf.cast(tf.round(exponent), tf.int32), highest)


def index_bytes(count: int, size: int) -> tuple[int, int]:
    """Of `encode_indices`: those of remainders, and of quotients at most."""
    width = _index_parameter(count, size)
    quotients = count + ((size - count) >> width)
    return -(-count * width // 8), -(-quotients // 8)


def encode_indices(indices: tf.Tensor, size: int) -> tf.Tensor:
    """Indices in increasing order, by the gaps between them.

    They take log2(n / k) + 1.5 bits each, or nearly so, where all sets of k out
    of n are equally likely, of which log2(n / k) + 1.44 are the least; at most
    log2(n / k) + 3; and a bit for each of the n where they are dense.

    Args:
      indices: int32, [k], in [0, n), each once, sorted.
      size: n.

    Returns:
      uint8: a message.
    """
    count = indices.shape[0]
    width = _index_parameter(count, size)
    before = tf.concat([[-1], indices[:-1]], 0)
    gaps = indices - before - 1
    remainders = bits.pack(gaps & (2**width - 1), width)
    _, num_bytes = index_bytes(count, size)
    words = put_quotients(
        tf.bitwise.right_shift(gaps, width),
        tf.fill([count], True),
        tf.constant(0),
        bits.num_words(8 * num_bytes),
    )
    return tf.concat([remainders, bits.to_bytes(words, num_bytes)], 0)


def decode_indices(message: tf.Tensor, count: int, size: int) -> tf.Tensor:
    """What `encode_indices` was given: int32, [k]."""
    width = _index_parameter(count, size)
    num_bytes, _ = index_bytes(count, size)
    remainders = bits.unpack(message[:num_bytes], width, count)
    quotients = get_quotients(message[num_bytes:], tf.constant(0), count)
    gaps = tf.bitwise.left_shift(quotients, width) + remainders
    return tf.cumsum(gaps + 1) - 1


def _index_parameter(count: int, size: int) -> int:
    return parameter((size - count) / count)
