import collections

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.runtime.in_process import types


def test_named_fields_are_dictionaries_and_others_tuples():
    type_ = tff.to_type(
        collections.OrderedDict(b=(np.int32, np.float32), a=np.int32)
    )
    specs = types.nest_specs(type_)
    scalar = tf.TensorSpec([], tf.int32)
    assert specs == collections.OrderedDict(
        b=(scalar, tf.TensorSpec([], tf.float32)), a=scalar
    )
