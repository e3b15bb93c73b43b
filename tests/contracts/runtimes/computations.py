"""Cases: federated computations as users write them."""

import collections

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tests.contracts.runtimes.cases import (
    AT_CLIENTS,
    AT_SERVER,
    SGD,
    batched_clients,
    case,
    variable_model,
)


@tff.tensorflow.computation
def zero():
    return 0


@tff.tensorflow.computation(np.int32, np.int32)
def add(a, b):
    return a + b


@tff.tensorflow.computation(np.int32)
def ten_times(a):
    return a * 10


@case
def reductions():
    @tff.federated_computation(AT_CLIENTS(np.int32), AT_SERVER(np.int32))
    def compute(x, y):
        return (
            tff.federated_sum(x),
            tff.federated_max(x),
            tff.federated_min(x),
            tff.federated_sum(tff.federated_broadcast(y)),
        )

    return compute([5, -7, 3], 4), compute([1], 2)


@case
def reductions_of_structures_of_floats():
    member = collections.OrderedDict(
        a=tff.TensorType(np.float32, (2,)), b=(np.float64, np.int64)
    )

    @tff.federated_computation(AT_CLIENTS(member))
    def compute(x):
        return (
            tff.federated_sum(x),
            tff.federated_max(x),
            tff.federated_min(x),
        )

    def value(n):
        array = np.float32([n, -2 * n])
        return collections.OrderedDict(a=array, b=(n / 2, 2**40 + n))

    return compute([value(3), value(-1), value(2)]), compute([])


@case
def sums_wrap_around():
    @tff.federated_computation(AT_CLIENTS(np.int32))
    def compute(x):
        return tff.federated_sum(x)

    return compute([2**31 - 1, 1]), compute([])


@case
def means():
    @tff.federated_computation(AT_CLIENTS(np.float32))
    def compute(x):
        return tff.federated_mean(x), tff.federated_mean(x, x)

    return compute([1.0, 2.0, 4.0])


@case
def means_of_structures_with_other_weights():
    member = collections.OrderedDict(
        a=tff.TensorType(np.float32, (2,)), b=np.float32
    )

    @tff.federated_computation(AT_CLIENTS(member), AT_CLIENTS(np.float32))
    def compute(x, weight):
        return tff.federated_mean(x, weight), tff.federated_mean(x)

    values = [
        collections.OrderedDict(a=np.float32([n, 2 * n]), b=-n)
        for n in (1.0, 3.0)
    ]
    return compute(values, [1.0, 3.0])


@case
def aggregate():
    @tff.federated_computation(AT_CLIENTS(np.int32))
    def compute(x):
        return tff.federated_aggregate(x, zero(), add, add, ten_times)

    return compute([1, 2, 3]), compute([])


@case
def aggregate_data_sets():
    """The accumulator reads them, as they are or made by the clients."""
    numbers = tff.SequenceType(np.int32)

    @tff.tensorflow.computation(numbers)
    def doubled(data):
        return data.map(lambda n: 2 * n)

    @tff.tensorflow.computation(np.int32, numbers)
    def add_all(total, data):
        return data.reduce(total, tf.add)

    @tff.tensorflow.computation(np.int32, numbers)
    def add_single(total, data):
        return total + data.get_single_element()

    @tff.federated_computation(AT_CLIENTS(numbers))
    def compute(x):
        twice = tff.federated_map(doubled, x)
        return (
            tff.federated_aggregate(x, zero(), add_all, add, ten_times),
            tff.federated_aggregate(twice, zero(), add_all, add, ten_times),
        )

    @tff.federated_computation(AT_CLIENTS(numbers))
    def singles(x):
        return tff.federated_aggregate(x, zero(), add_single, add, ten_times)

    return compute([[1, 2], [3], []]), compute([]), singles([[1], [2]])


@case
def results_at_clients():
    @tff.federated_computation(AT_CLIENTS(np.int32), AT_SERVER(np.int32))
    def compute(x, y):
        there = tff.federated_broadcast(y)
        return tff.federated_map(add, (x, there)), x, there

    return compute([1, 2, 3], 10)


@case
def results_at_clients_of_other_shapes_each():
    unknown = tff.TensorType(np.int32, (None,))

    @tff.tensorflow.computation(unknown)
    def twice(x):
        return tf.concat([x, x], 0)

    @tff.federated_computation(AT_CLIENTS(unknown))
    def compute(x):
        return tff.federated_map(twice, x), x

    return compute([np.int32([1]), np.int32([2, 3]), np.int32([])])


@case
def sequences_at_clients_as_results():
    @tff.tensorflow.computation(tff.SequenceType(np.int32))
    def evens(numbers):
        return numbers.filter(lambda n: n % 2 == 0)

    @tff.federated_computation(AT_CLIENTS(tff.SequenceType(np.int32)))
    def compute(x):
        return tff.federated_map(evens, x)

    found = compute([[1, 2, 4], [6], []])
    return [list(data) for data in found]


@case
def a_result_of_clients_used_before_and_after_a_sum():
    @tff.federated_computation(AT_CLIENTS(np.int32))
    def compute(x):
        local = tff.federated_map(ten_times, x)
        total = tff.federated_broadcast(tff.federated_sum(local))
        return tff.federated_sum(tff.federated_map(add, (local, total)))

    return compute([1, 2, 3])


@case
def all_equal_arguments_at_clients():
    everywhere = tff.FederatedType(np.int32, tff.CLIENTS, all_equal=True)

    @tff.federated_computation(everywhere, AT_CLIENTS(np.int32))
    def compute(x, y):
        return tff.federated_sum(tff.federated_map(add, (x, y))), x

    return compute(10, [1, 2])


@case
def values_of_the_program():
    @tff.federated_computation(AT_CLIENTS(np.int32))
    def compute(x):
        there = tff.federated_value(5, tff.CLIENTS)
        here = tff.federated_value((1, 2.5), tff.SERVER)
        total = tff.federated_sum(tff.federated_map(add, (x, there)))
        return total, here, there, tff.federated_value([True, b"x"], tff.SERVER)

    return compute([1, 2])


@case
def evaluation_at_clients():
    @tff.federated_computation(AT_CLIENTS(np.int32))
    def compute(x):
        zeros = tff.federated_eval(zero, tff.CLIENTS)
        return tff.federated_sum(tff.federated_map(add, (x, zeros))), zeros

    return compute([1, 2])


@case
def evaluation_at_the_server():
    @tff.federated_computation
    def compute():
        return tff.federated_eval(zero, tff.SERVER)

    return compute()


def selection(select):
    """Sums of the rows that clients select, by TFF's `select`."""

    @tff.tensorflow.computation(tff.TensorType(np.float32, (5, 2)), np.int32)
    def row(values, key):
        return collections.OrderedDict(key=key, row=tf.gather(values, key))

    @tff.tensorflow.computation(tff.SequenceType(row.type_signature.result))
    def total(rows):
        return rows.reduce(
            tf.zeros([2]),
            lambda n, e: n + e["row"] * tf.cast(e["key"], "float"),
        )

    @tff.federated_computation(
        AT_CLIENTS(tff.TensorType(np.int32, (3,))),
        AT_SERVER(np.int32),
        AT_SERVER(tff.TensorType(np.float32, (5, 2))),
    )
    def compute(keys, largest, values):
        rows = select(keys, largest, values, row)
        return tff.federated_map(total, rows)

    values = np.arange(10, dtype=np.float32).reshape(5, 2)
    keys = [np.int32([0, 1, 2]), np.int32([4, 4, 4])]
    return compute(keys, 5, values)


@case
def select():
    return selection(tff.federated_select)


@case
def nested_computations():
    @tff.federated_computation(AT_CLIENTS(np.int32))
    def total(x):
        return tff.federated_sum(x)

    @tff.federated_computation(AT_SERVER(np.int32), AT_CLIENTS(np.int32))
    def compute(state, x):
        return tff.federated_map(add, (state, total(x)))

    @tff.federated_computation(AT_SERVER(np.int32), AT_CLIENTS(np.int32))
    def twice(state, x):
        return compute(compute(state, x), x)

    return twice(100, [1, 2])


@case
def computations_without_places():
    @tff.federated_computation(np.int32, (np.int32, np.int32))
    def compute(a, pair):
        return collections.OrderedDict(
            sum=add(a, pair[0]), rest=(pair[1], ten_times(pair[1]))
        )

    @tff.federated_computation
    def constant():
        return add(zero(), zero())

    return compute(1, (2, 3)), constant()


@case
def mixtures_of_places():
    @tff.federated_computation(
        collections.OrderedDict(
            clients=AT_CLIENTS(np.int32),
            server=AT_SERVER(np.int32),
            no=np.int32,
        )
    )
    def compute(arg):
        return arg["no"], tff.federated_sum(arg["clients"]), arg["server"]

    value = collections.OrderedDict(clients=[1, 2], server=3, no=4)
    return compute(value), compute(clients=[5], server=6, no=7)


@case
def data_sets_made_by_the_clients():
    clients = {str(i): data for i, data in enumerate(batched_clients())}
    data = tff.simulation.datasets.ClientData.from_clients_and_tf_fn(
        list(clients),
        lambda name: (
            tf.data.Dataset.range(tf.strings.to_number(name, tf.int64))
            .map(
                lambda n: collections.OrderedDict(
                    x=tf.fill([4], tf.cast(n, tf.float32)),
                    y=tf.cast(n, tf.int32),
                )
            )
            .batch(2)
        ),
    )
    process = tff.simulation.compose_dataset_computation_with_learning_process(
        data.dataset_computation,
        tff.learning.algorithms.build_weighted_fed_avg(variable_model, SGD),
    )
    output = process.next(process.initialize(), ["1", "3"])
    return output.metrics, output.state
