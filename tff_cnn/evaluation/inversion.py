"""Gradient inversion: images from the gradient that was taken of them.

    dlg                Zhu et al. 2019, "Deep Leakage from Gradients",
                       Algorithm 1: images that minimize ||g(x) - g||^2, by
                       L-BFGS
    cosine_similarity  Geiping et al. 2020, "Inverting Gradients", equation 4:
                       images that minimize
                       1 - <g(x), g> / (||g(x)|| ||g||) + alpha TV(x), by Adam
                       on the gradient's sign, with pixels kept in [0, 1]

    symbol  name
    g       target: what the server has seen, as a gradient
    g(x)    gradient_of: of the loss at the same weights
    alpha   tv_weight
    TV      the mean difference of neighbouring pixels

The adversary knows weights, model and learning rate, as the server does. Labels
are inferred first (Zhao et al. 2020, "iDLG", section 3.2): the gradient in the
last bias is softmax minus the label's indicator, and negative there alone.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

# (images, labels) -> gradients of their mean loss, one for each variable.
GradientFunction = Callable[[tf.Tensor, tf.Tensor], list[tf.Tensor]]

_TINY = 1e-12


@dataclasses.dataclass(frozen=True)
class Found:
    """What an inversion has found.

    Attributes:
      images: float32, [n, height, width, channels], in [0, 1].
      labels: int32, [n], as inferred.
      distance: What was minimized, at the end.
    """

    images: np.ndarray
    labels: np.ndarray
    distance: float


def inferred_label(target: list[np.ndarray]) -> int:
    """The label of a gradient of one example.

    Args:
      target: Gradients; the last one is of the last layer's bias, [classes].

    Raises:
      ValueError: The last variable is no bias.
    """
    if target[-1].ndim != 1:
        raise ValueError("the model's last layer has no bias to look at.")
    return int(np.argmin(target[-1]))


def invert(
    gradient_of: GradientFunction,
    target: list[np.ndarray],
    image_shape: tuple[int, int, int],
    method: str,
    seed: int,
    steps: int = 300,
    restarts: int = 2,
    tv_weight: float = 1e-3,
    after_step: Callable[[], None] = lambda: None,
) -> Found:
    """The image whose gradient is most like `target`.

    Args:
      gradient_of: Twice differentiable in the images.
      target: Float32, one for each variable.
      image_shape: Of the one image.
      method: One of `METHODS`.
      seed: Of the images that are started from.
      steps: Of the optimizer, in each of the restarts, >= 1.
      restarts: Starts, of which the one that ends nearest counts, >= 1.
      tv_weight: alpha; of "cosine_similarity" only.
      after_step: Called after each step, for progress.
    """
    label = inferred_label(target)
    labels = tf.constant([label], tf.int32)
    target = [tf.constant(part, tf.float32) for part in target]
    rng = np.random.default_rng(seed)
    best = None
    for _ in range(restarts):
        start = rng.uniform(size=(1, *image_shape)).astype(np.float32)
        images, distance = METHODS[method](
            gradient_of, target, labels, start, steps, tv_weight, after_step
        )
        if best is None or distance < best.distance:
            best = Found(np.clip(images, 0, 1), labels.numpy(), distance)
    return best


def _dlg(gradient_of, target, labels, start, steps, tv_weight, after_step):
    """See the module; what it minimizes has no total variation."""
    del tv_weight
    # SciPy takes a moment to import.
    from scipy import optimize

    # A clipped gradient is small: distances are in its own norm.
    scale = tf.add_n([tf.reduce_sum(tf.square(g)) for g in target])

    @tf.function(input_signature=[tf.TensorSpec(start.shape)])
    def distance_and_slope(images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            found = gradient_of(images, labels)
            squares = [
                tf.reduce_sum(tf.square(f - g))
                for f, g in zip(found, target, strict=True)
            ]
            distance = tf.add_n(squares) / tf.maximum(scale, _TINY)
        return distance, tape.gradient(distance, images)

    def evaluate(flat):
        after_step()
        distance, slope = distance_and_slope(
            flat.reshape(start.shape).astype(np.float32)
        )
        return float(distance), np.ravel(slope).astype(np.float64)

    found = optimize.minimize(
        evaluate,
        np.ravel(start).astype(np.float64),
        jac=True,
        method="L-BFGS-B",
        options={"maxfun": steps, "maxiter": steps},
    )
    return found.x.reshape(start.shape).astype(np.float32), float(found.fun)


def _cosine_similarity(
    gradient_of, target, labels, start, steps, tv_weight, after_step
):
    """See the module; the rate falls to a tenth after 3/8, 5/8, 7/8 of all."""
    norm = tf.sqrt(tf.add_n([tf.reduce_sum(tf.square(g)) for g in target]))
    images = tf.Variable(start)
    rate = tf.Variable(0.1)
    optimizer = tf.keras.optimizers.Adam(rate)
    optimizer.build([images])

    def distance_of(images):
        found = gradient_of(images, labels)
        dot = tf.add_n(
            [tf.reduce_sum(f * g) for f, g in zip(found, target, strict=True)]
        )
        squares = [tf.reduce_sum(tf.square(f)) for f in found]
        length = tf.sqrt(tf.add_n(squares) + _TINY) * (norm + _TINY)
        variation = tf.image.total_variation(images)[0]
        size = tf.cast(tf.size(images), tf.float32)
        return 1 - dot / length + tv_weight * variation / size

    @tf.function
    def take_step():
        with tf.GradientTape() as tape:
            distance = distance_of(tf.convert_to_tensor(images))
        slope = tape.gradient(distance, images)
        optimizer.apply_gradients([(tf.sign(slope), images)])
        images.assign(tf.clip_by_value(images, 0.0, 1.0))

    falls = {round(steps * part / 8) for part in (3, 5, 7)}
    for step in range(steps):
        if step in falls:
            optimizer.learning_rate = optimizer.learning_rate * 0.1
        take_step()
        after_step()
    return images.numpy(), float(distance_of(images.value()))


METHODS = {"cosine_similarity": _cosine_similarity, "dlg": _dlg}


def psnr(found: np.ndarray, original: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB, of images in [0, 1]; inf where equal.

    Args:
      found: [height, width, channels].
      original: Alike.
    """
    error = np.mean(np.square(np.float64(found) - np.float64(original)))
    return float("inf") if error == 0 else float(-10 * np.log10(error))
