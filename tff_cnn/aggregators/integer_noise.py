"""Integer noise of one client, as a function of a seed.

tensorflow_privacy's own samplers take no seed.
"""

import tensorflow as tf

from tff_cnn.aggregators import noise


def skellam(
    shape: tf.TensorShape, stddev: tf.Tensor, seed: tf.Tensor, index: int
) -> tf.Tensor:
    """The difference of two Poisson variables; int64, of mean 0.

    Args:
      shape: Of the result, known.
      stddev: Of the difference, > 0.
      seed: int64, [2].
      index: Of the leaf; distinct ones have independent noise.
    """
    mean = tf.square(tf.cast(stddev, tf.float64)) / 2
    first, second = tf.unstack(
        tf.random.stateless_poisson(
            [2, *shape], noise.stream(seed, 0, index), mean, tf.int64
        )
    )
    return first - second


def discrete_gaussian(
    shape: tf.TensorShape, stddev: tf.Tensor, seed: tf.Tensor, index: int
) -> tf.Tensor:
    """Probability of k proportional to exp(-k^2 / (2 stddev^2)); int64.

    By rejection (Canonne, Kamath & Steinke 2020, Algorithm 3) from a discrete
    Laplace distribution, here of scale `stddev`, which accepts three of four;
    in float64, where the paper has rational numbers.

    Args:
      shape: Of the result, known.
      stddev: Parameter of the distribution, > 0.
      seed: int64, [2].
      index: Of the leaf; distinct ones have independent noise.
    """
    scale = tf.cast(stddev, tf.float64)
    size = shape.num_elements()
    # At a time: two draws are about enough, and memory stays small.
    count = size // 4 * 3 + 500

    def draw(step, found):
        uniform = tf.random.stateless_uniform(
            [3, count], noise.stream(seed, step, index), dtype=tf.float64
        )
        # An exponential variable of mean `scale`, rounded down, is geometric.
        geometric = tf.floor(-scale * tf.math.log1p(-uniform[:2]))
        laplace = geometric[0] - geometric[1]
        excess = (tf.abs(laplace) - scale) / scale
        accepted = uniform[2] < tf.exp(-tf.square(excess) / 2)
        return step + 1, tf.concat([found, laplace[accepted]], 0)

    _, found = tf.while_loop(
        lambda step, found: tf.size(found) < size,
        draw,
        [tf.constant(0), tf.zeros([0], tf.float64)],
        shape_invariants=[tf.TensorShape([]), tf.TensorShape([None])],
    )
    return tf.reshape(tf.cast(found[:size], tf.int64), shape)
