"""Bits as they travel: packed into bytes, the first bit the lowest.

A message is a uint8 vector of the greatest length that it can have. Zero bytes
at its end are not sent: who receives it knows the greatest length, and has
zeros there. So what a message takes is told by the message alone
(`used_bytes`), and a code of any length needs no field for its length as long
as its last bit is a 1.

All operations are on whole vectors, and have rules by which the in-process
runtime computes many clients at once.
"""

import tensorflow as tf

# Fields of any length are put together in words of so many bits; in int64, so
# that one which is shifted by less than a word is still a positive number.
_WORD = 32
_WORD_BYTES = _WORD // 8
_LOG_WORD = 5
_MASK = 2**_WORD - 1


def used_bytes(message: tf.Tensor) -> tf.Tensor:
    """Bytes of a message that are sent: int64, scalar."""
    ends = tf.range(1, message.shape[0] + 1, dtype=tf.int64)
    is_used = tf.cast(tf.not_equal(message, 0), tf.int64)
    return tf.reduce_max(tf.concat([[0], ends * is_used], 0))


def pack(values: tf.Tensor, width: int) -> tf.Tensor:
    """Numbers of equal width, one behind the other.

    Args:
      values: int32, [n], each in [0, 2**width).
      width: Bits of each, from 0 to 31.

    Returns:
      uint8, [ceil(n width / 8)].
    """
    places = tf.range(width)
    bits = tf.bitwise.right_shift(values[:, tf.newaxis], places) & 1
    size = values.shape[0] * width
    flat = tf.pad(tf.reshape(bits, [size]), [[0, -size % 8]])
    groups = tf.reshape(flat, [-(-size // 8), 8])
    shifted = tf.bitwise.left_shift(groups, tf.range(8))
    return tf.cast(tf.reduce_sum(shifted, 1), tf.uint8)


def unpack(message: tf.Tensor, width: int, count: int) -> tf.Tensor:
    """What `pack` was given: int32, [count]."""
    flat = single_bits(message)[: count * width]
    places = tf.range(width)
    shifted = tf.bitwise.left_shift(tf.reshape(flat, [count, width]), places)
    return tf.reduce_sum(shifted, 1)


def single_bits(message: tf.Tensor) -> tf.Tensor:
    """Each bit as a number: int32, [8 bytes]."""
    values = tf.cast(message, tf.int32)[:, tf.newaxis]
    bits = tf.bitwise.right_shift(values, tf.range(8)) & 1
    return tf.reshape(bits, [8 * message.shape[0]])


def num_words(num_bits: int) -> int:
    """Words that hold so many bits, and what a field at their end reaches."""
    return num_bits // _WORD + 2


def put(
    values: tf.Tensor, starts: tf.Tensor, is_there: tf.Tensor, words: int
) -> tf.Tensor:
    """Fields at any place, which must not overlap; several can be added up.

    Args:
      values: int64, [n], each in [0, 2**32).
      starts: int32, [n]: first bits of the fields.
      is_there: bool, [n]: which of them are put at all.
      words: As of `num_words`.

    Returns:
      int64, [words], each in [0, 2**32).
    """
    shifts = tf.cast(starts & (_WORD - 1), tf.int64)
    shifted = tf.bitwise.left_shift(values, shifts)
    place = tf.bitwise.right_shift(starts, _LOG_WORD)
    first = tf.where(is_there, place, -1)
    second = tf.where(is_there, place + 1, -1)
    return tf.math.unsorted_segment_sum(
        shifted & _MASK, first, words
    ) + tf.math.unsorted_segment_sum(
        tf.bitwise.right_shift(shifted, _WORD), second, words
    )


def get(words: tf.Tensor, starts: tf.Tensor, widths: tf.Tensor) -> tf.Tensor:
    """Fields at any place.

    Args:
      words: int64, [words].
      starts: int32, [n]: first bits of the fields, none beyond the message.
      widths: int64, [n] or scalar: from 0 to 32.

    Returns:
      int64, [n].
    """
    place = tf.bitwise.right_shift(starts, _LOG_WORD)
    low = tf.gather(words, place)
    high = tf.bitwise.left_shift(tf.gather(words, place + 1), _WORD)
    shifts = tf.cast(starts & (_WORD - 1), tf.int64)
    # What a negative number is filled up with lies beyond 32 bits.
    found = tf.bitwise.right_shift(low | high, shifts)
    return found & (tf.bitwise.left_shift(tf.ones_like(widths), widths) - 1)


def to_bytes(words: tf.Tensor, size: int) -> tf.Tensor:
    """The first bytes of words: uint8, [size]."""
    shifts = tf.range(0, _WORD, 8, dtype=tf.int64)
    found = tf.bitwise.right_shift(words[:, tf.newaxis], shifts) & 255
    flat = tf.reshape(found, [_WORD_BYTES * words.shape[0]])
    return tf.cast(flat[:size], tf.uint8)


def to_words(message: tf.Tensor) -> tf.Tensor:
    """Words of a message, as of `num_words`: int64."""
    words = num_words(8 * message.shape[0])
    missing = _WORD_BYTES * words - message.shape[0]
    padded = tf.pad(tf.cast(message, tf.int64), [[0, missing]])
    groups = tf.reshape(padded, [words, _WORD_BYTES])
    shifts = tf.range(0, _WORD, 8, dtype=tf.int64)
    return tf.reduce_sum(tf.bitwise.left_shift(groups, shifts), 1)
