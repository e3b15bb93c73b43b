import numpy as np
import pytest
import tensorflow_federated as tff

from tff_cnn.runtime.in_process import interpreter, plan

lower = tff.backends.native.transform_to_native_form


@tff.tensorflow.computation(np.int32, np.int32)
def add(a, b):
    return a + b


@tff.federated_computation(
    tff.FederatedType(np.int32, tff.CLIENTS),
    tff.FederatedType(np.int32, tff.SERVER),
)
def two_passes(x, y):
    there = tff.federated_broadcast(y)
    local = tff.federated_map(add, (x, there))
    total = tff.federated_broadcast(tff.federated_sum(local))
    return tff.federated_sum(tff.federated_map(add, (local, total))), y


def test_stages_count_the_reductions_that_must_come_before():
    made = interpreter.build_plan(lower(two_passes))
    assert [(leaf.place, leaf.stage) for leaf in made.inputs] == [
        (plan.CLIENTS, 0),
        (plan.SERVER, 0),
    ]
    assert [(c.place, c.stage) for c in made.calls] == [
        (plan.CLIENTS, 0),
        (plan.CLIENTS, 1),
    ]
    assert [(r.kind, r.stage) for r in made.reductions] == [
        ("sum", 0),
        ("sum", 1),
    ]
    assert [leaf.stage for leaf in plan.leaves(made.result)] == [2, 0]


def test_moving_values_about_costs_no_calls():
    @tff.federated_computation(tff.FederatedType(np.int32, tff.SERVER))
    def zip_and_back(y):
        pair = tff.federated_zip((y, y))
        return tff.federated_zip((pair, y))

    made = interpreter.build_plan(lower(zip_and_back))
    assert made.calls == [] and made.reductions == []
    assert plan.leaves(made.result) == [made.inputs[0]] * 3


def test_what_cannot_run_here_is_named():
    class Unknown:
        def compact_representation(self):
            return "unknown thing"

    with pytest.raises(NotImplementedError, match="Unknown.*unknown thing"):
        interpreter._Interpreter()._evaluate(Unknown(), {}, plan.SERVER)
