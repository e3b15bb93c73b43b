import numpy as np
import tensorflow as tf

from tff_cnn.data import preprocessing


def test_scale_maps_pixel_max_to_one():
    images = np.array([0, 8, 16], np.uint8)
    scaled = preprocessing.scale(tf.constant(images), 16)
    assert scaled.dtype == tf.float32
    np.testing.assert_array_equal(scaled, [0.0, 0.5, 1.0])


def test_a_client_is_one_element_of_the_declared_spec(tiny_examples):
    data = preprocessing.client_data(tiny_examples, np.array([1, 2], np.int32))
    assert len(data) == 1
    spec = preprocessing.element_spec((8, 8, 1))
    assert list(data[0]) == list(spec)
    for name, value in data[0].items():
        assert spec[name].is_compatible_with(tf.constant(value)), name
