import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.runtime.in_process import arguments

NAMED = tff.to_type(
    collections.OrderedDict(b=np.float32, a=(np.int32, [np.int32]))
)


@pytest.mark.parametrize(
    "value",
    [
        collections.OrderedDict(b=1.5, a=(2, [3])),
        {"a": (2, [3]), "b": 1.5},
        tff.structure.Struct([("b", 1.5), ("a", (2, [3]))]),
        (1.5, (2, [3])),
    ],
)
def test_leaves_are_in_the_types_order_whatever_the_container(value):
    leaves = list(arguments.flatten(value, NAMED))
    assert leaves == [1.5, 2, 3]
    assert leaves[0].dtype == np.float32


@pytest.mark.parametrize(
    "value", [{"a": 1}, {"b": 1, "a": (1, [2]), "c": 1}, (1.0,), 7]
)
def test_values_that_do_not_fit_are_type_errors(value):
    with pytest.raises(TypeError):
        list(arguments.flatten(value, NAMED))


def test_floats_are_not_silently_made_integers():
    with pytest.raises(TypeError, match="float64"):
        list(arguments.flatten(1.5, tff.TensorType(np.int32)))


def test_elements_are_in_the_order_of_tf_data():
    element = collections.OrderedDict(b=np.int32(1), a=np.int32(2))
    type_ = tff.SequenceType(
        tff.to_type(collections.OrderedDict(b=np.int32, a=np.int32))
    )
    from_list = arguments.element_tensors([element], type_)
    dataset = tf.data.Dataset.from_tensors(element)
    from_dataset = arguments.element_tensors(dataset, type_)
    assert [int(v) for v in from_list] == [int(v) for v in from_dataset]
    assert [int(v) for v in from_list] == [2, 1]


def test_a_sequence_of_several_is_not_a_single_element():
    type_ = tff.SequenceType(np.int32)
    with pytest.raises(ValueError, match="2 elements"):
        arguments.element_tensors([np.int32(1), np.int32(2)], type_)
