"""A code of small integers, most of which are zero or nearly so.

As in QSGD (Alistarh et al. 2017, section 3.2): of each number that is not zero
how far it lies behind the one before, its sign and how large it is. Elias' code
is there; here it is Rice's (`rice`), whose parameters are found from what is
sent. Where that is longer than fixed fields, as for numbers that are all about
equally likely, fields are sent instead.

    bits      name
    5         l of the gaps, or `_FIXED`
    5         l of the sizes
    32        numbers that are not zero
    6         (none)
    each      sign; size - 1 mod 2**l; gap mod 2**l
    each      quotients of gap and of size - 1

An update of zeros takes no byte.
"""

from typing import NamedTuple

import tensorflow as tf

from tff_cnn.aggregators.compression import bits, rice

_HEADER = 48
_WIDTHS = (5, 5, 32)
_STARTS = (0, 5, 10)
_FIXED = 31
# Beyond, quotients cost next to nothing, and a field fits into a word.
_HIGHEST = 16


class _Code(NamedTuple):
    """Numbers that are not zero, as they are sent.

    Attributes:
      fields: int64, [n]: signs and remainders.
      width: int32, scalar: of each of the fields.
      quotients: int32, [2 n]: of gap and size, by turns.
      is_there: bool, [n]: the first of them.
      header: int64, [3].
    """

    fields: tf.Tensor
    width: tf.Tensor
    quotients: tf.Tensor
    is_there: tf.Tensor
    header: tf.Tensor


def num_bytes(count: int, width: int) -> int:
    """That numbers take at most."""
    return (_HEADER + count * width + 7) // 8


def encode(values: tf.Tensor, width: int) -> tf.Tensor:
    """A message.

    Args:
      values: int32, [n], each in (-2**(width - 1), 2**(width - 1)).
      width: From 2 to 16 bits.

    Returns:
      uint8, [`num_bytes`].
    """
    code, size = _code(values, width), values.shape[0]
    lengths = tf.where(_by_turns(code.is_there), code.quotients + 1, 0)
    count = tf.cast(code.header[2], tf.int32)
    num_bits = _HEADER + count * code.width + tf.reduce_sum(lengths)
    is_shorter = num_bits <= _HEADER + size * width
    code = code._replace(is_there=code.is_there & is_shorter)
    fixed = tf.concat(
        [
            tf.constant([_FIXED] + [0] * (_HEADER // 8 - 1), tf.uint8),
            bits.pack(values + 2 ** (width - 1) - 1, width),
        ],
        0,
    )
    return tf.where(is_shorter, _message(code, num_bytes(size, width)), fixed)


def decode(message: tf.Tensor, count: int, width: int) -> tf.Tensor:
    """What `encode` was given: int32, [count]."""
    words = bits.to_words(message)
    of_gap, of_size, number = _header(words)
    is_fixed = tf.equal(of_gap, _FIXED)
    fixed = bits.unpack(message[_HEADER // 8 :], width, count)
    fixed -= 2 ** (width - 1) - 1
    # What is no code has no numbers.
    number = tf.where(is_fixed, 0, number)
    is_there = tf.range(count) < number
    width = 1 + of_size + of_gap
    starts = _HEADER + tf.range(count) * width
    fields = bits.get(words, tf.where(is_there, starts, 0), _wide(width))
    quotients = rice.get_quotients(message, _HEADER + number * width, 2 * count)
    code = _Code(
        fields, width, quotients, is_there, tf.stack([of_gap, of_size])
    )
    return tf.where(is_fixed, fixed, _decoded(code))


def _code(values: tf.Tensor, width: int) -> _Code:
    is_nonzero = tf.not_equal(values, 0)
    rank = tf.cumsum(tf.cast(is_nonzero, tf.int32))
    count, size = rank[-1], values.shape[0]
    order = tf.where(is_nonzero, rank - 1, -1)
    numbers = tf.math.unsorted_segment_sum(values, order, size)
    places = tf.math.unsorted_segment_sum(tf.range(size), order, size)
    is_there = tf.range(size) < count
    before = tf.concat([[-1], places[:-1]], 0)
    gaps = tf.where(is_there, places - before - 1, 0)
    sizes = tf.where(is_there, tf.abs(numbers) - 1, 0)
    of_gap = rice.found_parameter(gaps, count, _HIGHEST)
    of_size = rice.found_parameter(sizes, count, width - 1)
    fields = (
        _wide(numbers < 0)
        | _left(_wide(_low(sizes, of_size)), tf.constant(1, tf.int64))
        | _left(_wide(_low(gaps, of_gap)), _wide(1 + of_size))
    )
    return _Code(
        fields,
        1 + of_size + of_gap,
        _by_turns(_right(gaps, of_gap), _right(sizes, of_size)),
        is_there,
        _wide(tf.stack([of_gap, of_size, count])),
    )


def _decoded(code: _Code) -> tf.Tensor:
    """The numbers, of which the header has only the parameters."""
    of_gap, of_size = tf.unstack(code.header)
    size = code.is_there.shape[0]
    pairs = tf.reshape(code.quotients, [size, 2])
    remainders = _right(code.fields, tf.constant(1, tf.int64))
    low_sizes = tf.cast(_low(remainders, _wide(of_size)), tf.int32)
    low_gaps = tf.cast(_right(remainders, _wide(of_size)), tf.int32)
    gaps = _left(pairs[:, 0], of_gap) + low_gaps
    sizes = _left(pairs[:, 1], of_size) + low_sizes + 1
    numbers = tf.where((code.fields & 1) > 0, -sizes, sizes)
    places = tf.cumsum(tf.where(code.is_there, gaps + 1, 0)) - 1
    places = tf.where(code.is_there, places, -1)
    return tf.math.unsorted_segment_sum(numbers, places, size)


def _message(code: _Code, size: int) -> tf.Tensor:
    words = bits.num_words(8 * size)
    count = tf.cast(code.header[2], tf.int32)
    starts = _HEADER + tf.range(code.fields.shape[0]) * code.width
    found = bits.put(
        code.header, tf.constant(_STARTS), tf.fill([len(_STARTS)], True), words
    )
    found += bits.put(code.fields, starts, code.is_there, words)
    found += rice.put_quotients(
        code.quotients,
        _by_turns(code.is_there),
        _HEADER + count * code.width,
        words,
    )
    return bits.to_bytes(found, size)


def _header(words: tf.Tensor) -> list[tf.Tensor]:
    """int32 scalars."""
    widths = tf.constant(_WIDTHS, tf.int64)
    fields = bits.get(words, tf.constant(_STARTS), widths)
    return tf.unstack(tf.cast(fields, tf.int32))


_left, _right = tf.bitwise.left_shift, tf.bitwise.right_shift


def _wide(values: tf.Tensor) -> tf.Tensor:
    return tf.cast(values, tf.int64)


def _low(values: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """The lowest bits of numbers."""
    return values & (_left(tf.ones_like(width), width) - 1)


def _by_turns(first: tf.Tensor, second: tf.Tensor | None = None) -> tf.Tensor:
    """Two vectors' entries by turns; those of one twice."""
    second = first if second is None else second
    return tf.reshape(tf.stack([first, second], 1), [2 * first.shape[0]])
