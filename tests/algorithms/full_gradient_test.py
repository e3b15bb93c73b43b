import tensorflow as tf

from tff_cnn.algorithms.full_gradient import FullGradient


def test_of_no_example_the_gradient_is_zero():
    nothing = FullGradient.of_nothing([tf.ones(2)])
    assert nothing.mean[0].numpy().tolist() == [0, 0]
    one = nothing.plus([tf.constant([3.0, 6.0])], tf.constant([1.0, 0.0]))
    both = one.plus([tf.constant([0.0, 0.0])], tf.constant([1.0, 1.0]))
    assert both.mean[0].numpy().tolist() == [1, 2]
