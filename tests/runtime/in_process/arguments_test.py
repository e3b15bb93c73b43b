import collections
import itertools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_cnn.runtime.in_process import arguments, plan, types

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


@pytest.mark.parametrize("value", ["ä", "ä".encode(), tf.constant("ä")])
def test_texts_are_bytes(value):
    (leaf,) = arguments.flatten(value, tff.TensorType(np.str_))
    assert tf.convert_to_tensor(leaf).numpy() == "ä".encode()


@pytest.mark.parametrize(
    "value",
    [np.float64(1), np.float64([[1], [2]]), tf.constant(1), [[1.0], [True]]],
)
def test_numbers_are_not_cast_with_loss(value):
    type_ = tff.TensorType(np.float32, np.shape(value))
    with pytest.raises(TypeError, match="dtype"):
        list(arguments.flatten(value, type_))


@pytest.mark.parametrize("shape", [(), (3,), (2, 1)])
def test_shapes_must_fit(shape):
    type_ = tff.TensorType(np.float32, (2,))
    for make in (np.zeros, tf.zeros):
        with pytest.raises(TypeError, match="shape"):
            list(arguments.flatten(make(shape, "float32"), type_))
    unknown = tff.TensorType(np.float32, (None,))
    (leaf,) = arguments.flatten(np.zeros(3, np.float32), unknown)
    assert leaf.shape == (3,)


def test_data_sets_of_another_type_are_type_errors():
    type_ = tff.SequenceType(tff.TensorType(np.float32, (None,)))
    good = tf.data.Dataset.from_tensors(np.float32([1, 2]))
    arguments.dataset_variant(good, type_)
    for bad in (good.batch(2), good.map(lambda x: (x, x)), [np.int32(1)], 3):
        for take in (arguments.dataset_variant, arguments.element_tensors):
            with pytest.raises(TypeError):
                take(bad, type_)


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


@given(
    sizes=st.lists(st.integers(0, 3), max_size=20),
    as_tensors=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_lists_of_any_shapes_become_data_sets(sizes, as_tensors):
    element = collections.OrderedDict(
        z=tff.TensorType(np.str_), a=tff.TensorType(np.float32, (None,))
    )
    rows = [np.arange(n, dtype=np.float32) for n in sizes]
    given_rows = [tf.constant(row) for row in rows] if as_tensors else rows
    variant = arguments.dataset_variant(
        [
            collections.OrderedDict(z=f"number {i}", a=row)
            for i, row in enumerate(given_rows)
        ],
        tff.SequenceType(element),
    )
    specs = types.nest_specs(tff.to_type(element))
    found = tf.data.experimental.from_variant(variant, specs)
    for number, (row, item) in enumerate(
        itertools.zip_longest(rows, found.as_numpy_iterator())
    ):
        assert item["z"] == f"number {number}".encode()
        np.testing.assert_array_equal(item["a"], row)


def test_results_whose_fields_have_some_names_are_refused():
    type_ = tff.StructType([("a", np.int32), np.int32])
    leaves = [plan.Leaf(tff.TensorType(np.int32), plan.SERVER, 0)] * 2
    record = plan.Record(("a", None), tuple(leaves))
    with pytest.raises(ValueError, match="name all or none"):
        arguments.to_python(record, type_, lambda *_: np.int32(1), 0)
