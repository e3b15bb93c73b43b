"""The same mistakes are the same errors on every runtime.

What the arguments alone tell is a `TypeError` (or, for clients that do not
match, a `ValueError`) everywhere. Errors within TensorFlow graphs are named
by each runtime in its own way: TFF's worker raises gRPC's exceptions, the
others their own, and only that they raise is the same.
"""

import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.contracts.runtimes.cases import AT_CLIENTS, AT_SERVER
from tests.contracts.runtimes.computations import add, ten_times
from tff_cnn import runtime
from tff_cnn.runtime import RUNTIMES

VECTOR = tff.TensorType(np.float32, (2,))
FIELDS = collections.OrderedDict(a=np.int32, b=VECTOR)
NUMBERS = tff.SequenceType(np.int32)


@pytest.fixture(scope="module", params=RUNTIMES, autouse=True)
def opened(request):
    with runtime.use(request.param):
        yield


@tff.tensorflow.computation(np.float32)
def root(x):
    with tf.control_dependencies([tf.debugging.assert_non_negative(x)]):
        return tf.sqrt(x)


@tff.tensorflow.computation(np.str_)
def length(text):
    return tf.strings.length(text)


@tff.tensorflow.computation(VECTOR)
def norm(x):
    return tf.norm(x)


@tff.tensorflow.computation(FIELDS)
def fields(x):
    return x["a"]


@tff.tensorflow.computation(NUMBERS)
def count(numbers):
    return numbers.reduce(0, lambda n, _: n + 1)


@tff.tensorflow.computation(NUMBERS)
def only(numbers):
    return numbers.get_single_element()


@tff.tensorflow.computation(
    tff.SequenceType(collections.OrderedDict(b=np.int32, a=np.int32))
)
def count_pairs(pairs):
    return pairs.reduce(0, lambda n, _: n + 1)


@tff.federated_computation(AT_CLIENTS(np.int32))
def total(x):
    return tff.federated_sum(x)


@tff.federated_computation(AT_CLIENTS(np.int32), AT_CLIENTS(np.int32))
def total_of_both(x, y):
    return tff.federated_sum(tff.federated_map(add, (x, y)))


@tff.federated_computation(AT_CLIENTS(np.float32))
def roots(x):
    return tff.federated_sum(tff.federated_map(root, x))


@tff.federated_computation(AT_SERVER(FIELDS))
def at_server(x):
    return tff.federated_map(fields, x)


@tff.federated_computation(AT_CLIENTS(FIELDS))
def at_clients(x):
    return tff.federated_sum(tff.federated_map(fields, x))


@tff.federated_computation(AT_CLIENTS(NUMBERS))
def counts(x):
    return tff.federated_sum(tff.federated_map(count, x))


def dataset(values, dtype):
    return tf.data.Dataset.from_tensor_slices(np.array(values, dtype))


ARRAY = np.float32([1, 2])
OF_ARGUMENTS = {
    "text for a number": (TypeError, lambda: add("one", 2)),
    "a number for text": (TypeError, lambda: length(3)),
    "a float for an integer": (TypeError, lambda: ten_times(1.5)),
    "an integer for a float": (TypeError, lambda: root(1)),
    "a boolean for an integer": (TypeError, lambda: ten_times(True)),
    "an integer that is too large": (TypeError, lambda: ten_times(2**31)),
    "an array of 64 bits for 32": (
        TypeError,
        lambda: norm(np.float64([1, 2])),
    ),
    "a scalar of 64 bits for 32": (TypeError, lambda: ten_times(np.int64(1))),
    "too many dimensions": (TypeError, lambda: ten_times(np.int32([1]))),
    "too few dimensions": (TypeError, lambda: norm(np.float32(1))),
    "too many elements": (TypeError, lambda: norm(np.float32([1, 2, 3]))),
    "a list that is too long": (TypeError, lambda: norm([1.0, 2.0, 3.0])),
    "a list of another kind": (TypeError, lambda: norm([1, 2])),
    "no argument": (TypeError, lambda: ten_times()),
    "an argument too few": (TypeError, lambda: add(1)),
    "an argument too many": (TypeError, lambda: add(1, 2, 3)),
    "an unknown keyword": (TypeError, lambda: add(1, c=2)),
    # The worker counts fields only once it has looked for one too many.
    "a field too few": (
        (TypeError, IndexError),
        lambda: fields({"a": 1}),
    ),
    "a field too many": (
        TypeError,
        lambda: fields(collections.OrderedDict(a=1, b=ARRAY, c=2)),
    ),
    "a field too few at the server": (TypeError, lambda: at_server({"a": 1})),
    "a field of another dtype": (
        TypeError,
        lambda: fields(collections.OrderedDict(a=1.5, b=ARRAY)),
    ),
    "a number for clients": (TypeError, lambda: total(5)),
    "an array for clients": (TypeError, lambda: total(np.int32([1, 2]))),
    "a dictionary for clients": (TypeError, lambda: total({0: 1})),
    "clients that do not match": (
        ValueError,
        lambda: total_of_both([1], [2, 3]),
    ),
    "a float for one client's integer": (TypeError, lambda: total([1, 2.5])),
    "a field too few at a client": (
        (TypeError, IndexError),
        lambda: at_clients([{"a": 1}]),
    ),
    "a data set of another dtype at a client": (
        TypeError,
        lambda: counts([[1], dataset([1.5], np.float32)]),
    ),
    "a number for a sequence": (TypeError, lambda: count(5)),
    "a data set of another dtype": (
        TypeError,
        lambda: count(dataset([1.5], np.float32)),
    ),
    "a data set of 64 bits for 32": (
        TypeError,
        lambda: count(dataset([1], np.int64)),
    ),
    "a data set of another shape": (
        TypeError,
        lambda: count(dataset([[1, 2]], np.int32)),
    ),
    "a data set of another structure": (
        TypeError,
        lambda: count_pairs(dataset([1], np.int32)),
    ),
    "a list of another dtype": (TypeError, lambda: count([1.5])),
    "a list of another shape": (
        TypeError,
        lambda: count([np.int32([1, 2])]),
    ),
}

OF_COMPUTATIONS = {
    "a value that a graph refuses": lambda: root(-1.0),
    "a value that a client's graph refuses": lambda: roots([1.0, -1.0]),
    "two elements where one is taken": lambda: only([1, 2]),
    "no element where one is taken": lambda: only([]),
    "a data set of two where one is taken": (
        lambda: only(dataset([1, 2], np.int32))
    ),
}


@pytest.mark.parametrize("mistake", OF_ARGUMENTS)
def test_mistakes_in_arguments(mistake):
    expected, call = OF_ARGUMENTS[mistake]
    with pytest.raises(expected):
        call()


@pytest.mark.parametrize("mistake", OF_COMPUTATIONS)
def test_mistakes_that_computations_find(mistake):
    with pytest.raises(Exception):  # noqa: B017 - see the module.
        OF_COMPUTATIONS[mistake]()


def test_what_is_right_still_works():
    assert ten_times(np.int16(2)) == 20
    assert norm([3.0, 4.0]) == 5.0
    assert norm(np.float16([3, 4])) == 5.0
    assert fields({"a": 1, "b": ARRAY}) == 1
    assert count_pairs([collections.OrderedDict(b=1, a=2)]) == 1
    assert only([7]) == 7
    assert total([np.int32(1), 2]) == 3
