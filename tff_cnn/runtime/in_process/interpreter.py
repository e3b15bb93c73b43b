"""From TFF's building blocks to a plan.

A lowered computation (`tff.backends.native.transform_to_native_form`) is a
small functional program over TensorFlow graphs. It is interpreted once, with
leaves in the place of tensors; what remains is the plan.
"""

import functools
from typing import ClassVar

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff
from google.protobuf.internal import api_implementation

from tff_cnn.runtime.in_process import collecting, sequences
from tff_cnn.runtime.in_process.graph_function import GraphFunction
from tff_cnn.runtime.in_process.plan import (
    CLIENTS,
    SERVER,
    Constant,
    Input,
    Leaf,
    LocalFunction,
    Operation,
    Output,
    Plan,
    Record,
    Reduced,
    Reduction,
    TensorCall,
    Value,
    leaves,
)

_fw = tff.framework


def allow_deep_computations() -> None:
    """Lets protocol buffers nest deeper than 100 messages.

    TFF writes a computation from the inside out, and putting one message into
    another is writing and parsing it. Processes in several layers, such as
    `tff.learning.ddp_secure_aggregator` within federated averaging, are nested
    deeper than the parser allows by default, and fail with a `DecodeError`
    while they are built.
    """
    if api_implementation.Type() == "upb":
        from google._upb import _message

        _message.SetAllowOversizeProtos(True)


def build_plan(computation: tff.framework.ConcreteComputation) -> Plan:
    """Interprets a computation that is in native form.

    Raises:
      NotImplementedError: Naming what has no counterpart here.
    """
    return _Interpreter().plan(computation)


class _Interpreter:
    """Interprets building blocks over `Value`s, recording what they compute."""

    def __init__(self):
        self._inputs: list[Input] = []
        self._calls: list[TensorCall] = []
        self._reductions: list[Reduction] = []

    def plan(self, computation) -> Plan:
        block = computation.to_building_block()
        signature = computation.type_signature
        result = self._evaluate(block, {}, SERVER)
        if isinstance(signature, tff.FunctionType):
            argument = None
            if signature.parameter is not None:
                argument = self._symbols(signature.parameter, SERVER)
            result = result(argument, SERVER)
        # Copies: accumulators are interpreted later, and their calls are not
        # steps of the plan.
        return Plan(
            self._inputs, result, list(self._calls), list(self._reductions)
        )

    def _symbols(self, type_: tff.Type, place: str) -> Value:
        """Inputs in the structure of a type."""
        if isinstance(type_, tff.FederatedType):
            place = CLIENTS if type_.placement is tff.CLIENTS else SERVER
            return self._symbols(type_.member, place)
        if isinstance(type_, tff.StructType):
            names, types = _fields(type_)
            return Record(names, tuple(self._symbols(t, place) for t in types))
        leaf = Input(type_, place, 0, len(self._inputs))
        self._inputs.append(leaf)
        return leaf

    # One method for each kind of building block.

    def _evaluate(self, block, scope: dict[str, Value], place: str) -> Value:
        handler = self._HANDLERS.get(type(block))
        if handler is None:
            raise NotImplementedError(
                f"a {type(block).__name__} "
                f"({block.compact_representation()[:80]}) cannot run in this "
                "process; use the native runtime."
            )
        return handler(self, block, scope, place)

    def _reference(self, block, scope, place):
        return scope[block.name]

    def _selection(self, block, scope, place):
        source = self._evaluate(block.source, scope, place)
        return source.select(block.name, block.index)

    def _struct(self, block, scope, place):
        names, _ = _fields(block.type_signature)
        items = (self._evaluate(item, scope, place) for item in block)
        return Record(names, tuple(items))

    def _block(self, block, scope, place):
        scope = dict(scope)
        for name, value in block.locals:
            scope[name] = self._evaluate(value, scope, place)
        return self._evaluate(block.result, scope, place)

    def _lambda(self, block, scope, place):
        def apply(argument, place):
            inner = dict(scope)
            if block.parameter_name is not None:
                inner[block.parameter_name] = argument
            return self._evaluate(block.result, inner, place)

        return apply

    def _call(self, block, scope, place):
        function = self._evaluate(block.function, scope, place)
        argument = None
        if block.argument is not None:
            argument = self._evaluate(block.argument, scope, place)
        return function(argument, place)

    def _compiled(self, block, scope, place):
        function = GraphFunction(block)
        signature = block.type_signature
        if not isinstance(signature, tff.FunctionType):
            return self._tensor_call(function, [], signature, place)

        def apply(argument, place):
            arguments = [] if argument is None else leaves(argument)
            return self._tensor_call(
                function, arguments, signature.result, place
            )

        return apply

    def _literal(self, block, scope, place):
        return Constant(block.type_signature, place, 0, np.asarray(block.value))

    def _intrinsic(self, block, scope, place):
        uri = block.uri
        if uri not in self._INTRINSICS:
            raise NotImplementedError(
                f"the intrinsic {uri!r} cannot run in this process; use the "
                "native runtime."
            )
        return functools.partial(self._INTRINSICS[uri], self, block)

    def _operation(self, compute, arguments, type_, place) -> Leaf:
        """One tensor computed from others."""
        operation = Operation(
            lambda *inputs: [compute(*inputs)], [False] * len(arguments)
        )
        return self._tensor_call(operation, arguments, type_, place)

    def _tensor_call(self, function, arguments, result_type, place) -> Value:
        stage = max((a.stage for a in arguments), default=0)
        call = TensorCall(function, arguments, place, stage)
        self._calls.append(call)
        counter = iter(range(10**9))

        def outputs(type_):
            if isinstance(type_, tff.StructType):
                names, types = _fields(type_)
                return Record(names, tuple(map(outputs, types)))
            return Output(type_, place, stage, call, next(counter))

        return outputs(result_type)

    # One method for each intrinsic: (block, argument, place) -> result.

    def _map(self, block, argument, place):
        function, value = argument.items
        return function(value, CLIENTS)

    def _apply(self, block, argument, place):
        function, value = argument.items
        return function(value, SERVER)

    def _eval_at_clients(self, block, argument, place):
        return argument(None, CLIENTS)

    def _eval_at_server(self, block, argument, place):
        return argument(None, SERVER)

    def _pass_through(self, block, argument, place):
        return argument

    def _sum(self, block, argument, place):
        return _like(argument, iter(self._reduction("sum", leaves(argument))))

    def _min(self, block, argument, place):
        return _like(argument, iter(self._reduction("min", leaves(argument))))

    def _max(self, block, argument, place):
        return _like(argument, iter(self._reduction("max", leaves(argument))))

    def _aggregate(self, block, argument, place):
        value, zero, accumulate, _, report = argument.items
        # The accumulator may be of more shapes than where it starts.
        zero = self._as_type(
            zero, block.type_signature.parameter[2].parameter[0]
        )

        def accumulate_leaves(accumulator, sources):
            new = accumulate(
                Record(
                    (None, None),
                    (
                        _like(zero, iter(accumulator)),
                        _like(value, iter(sources)),
                    ),
                ),
                SERVER,
            )
            return leaves(new)

        sources, start = leaves(value), leaves(zero)
        num_calls = len(self._calls)
        rows = collecting.appended(accumulate_leaves, start, sources)
        del self._calls[num_calls:]  # They were made for looking at them.
        if rows is not None:
            total = self._reduction("collect", rows, start)
        else:
            total = self._reduction(
                "accumulate", sources, start, accumulate_leaves
            )
        return report(_like(zero, iter(total)), SERVER)

    def _mean(self, block, argument, place):
        one = Constant(tff.TensorType(np.float32), CLIENTS, 0, np.float32(1))
        return self._weighted_mean(
            block, Record((None, None), (argument, one)), place
        )

    def _weighted_mean(self, block, argument, place):
        value, weight = argument.items
        products = [
            self._operation(
                lambda v, w: v * tf.cast(w, v.dtype),
                [leaf, weight],
                leaf.type,
                CLIENTS,
            )
            for leaf in leaves(value)
        ]
        *totals, weights = self._reduction("sum", [*products, weight])
        means = [
            self._operation(
                lambda t, w: t / tf.cast(w, t.dtype),
                [total, weights],
                total.type,
                SERVER,
            )
            for total in totals
        ]
        return _like(value, iter(means))

    def _secure_sum(self, block, argument, place):
        """A sum: nobody is there to be kept from seeing its terms."""
        value, maximum = argument.items
        return self._sum_up_to(value, leaves(maximum))

    def _secure_sum_bitwidth(self, block, argument, place):
        value, bitwidth = argument.items
        maxima = [
            self._operation(
                _largest_of_bits, [bits], tff.TensorType(np.int64), SERVER
            )
            for bits in leaves(bitwidth)
        ]
        return self._sum_up_to(value, maxima)

    def _sum_up_to(self, value, maxima: list[Leaf]):
        """A sum of values that are at most `maxima`: one, or one for each."""
        sources = leaves(value)
        if len(maxima) == 1:
            maxima = maxima * len(sources)
        return _like(
            value, iter(self._reduction("sum", sources, maxima=maxima))
        )

    def _secure_modular_sum(self, block, argument, place):
        """A sum, of a protocol if there is one (`core.secure_sums`)."""
        value, modulus = argument.items
        sources, moduli = leaves(value), leaves(modulus)
        if len(moduli) == 1:
            moduli = moduli * len(sources)
        totals = self._reduction("sum", sources, moduli=moduli)
        results = [
            self._operation(
                lambda t, m: tf.math.floormod(t, tf.cast(m, t.dtype)),
                [total, m],
                total.type,
                SERVER,
            )
            for total, m in zip(totals, moduli, strict=True)
        ]
        return _like(value, iter(results))

    def _select(self, block, argument, place):
        """Each client's keys to the sequence of what they select."""
        keys, _, server_value, function = argument.items
        sources = leaves(server_value)
        select = self._local_function(
            lambda slots: function(slots, CLIENTS),
            Record(
                (None, None),
                (
                    _slots(server_value),
                    Leaf(tff.TensorType(keys.type.dtype), CLIENTS, 0),
                ),
            ),
        )
        type_ = block.type_signature.result.member

        def compute(keys, *values):
            known, captured = values[: len(sources)], values[len(sources) :]
            return sequences.select(
                keys, lambda key: select([*known, key], captured), type_.element
            )

        return self._operation(
            compute, [keys, *sources, *select.captured], type_, CLIENTS
        )

    def _sequence_map(self, block, argument, place):
        function, sequence = argument.items
        element, type_ = sequence.type.element, block.type_signature.result
        mapped = self._local_function(
            lambda slot: function(slot, place), _slots(element)
        )
        return self._operation(
            lambda variant, *captured: sequences.map_elements(
                variant, element, lambda e: mapped(e, captured), type_.element
            ),
            [sequence, *mapped.captured],
            type_,
            place,
        )

    def _sequence_reduce(self, block, argument, place):
        sequence, zero, function = argument.items
        element = sequence.type.element
        type_ = block.type_signature.parameter[2].parameter[0]
        start = leaves(zero)
        add = self._local_function(
            lambda slots: function(slots, place),
            Record((None, None), (_slots(type_), _slots(element))),
        )

        def compute(variant, *values):
            zero, captured = values[: len(start)], values[len(start) :]
            return sequences.reduce_elements(
                variant, element, zero, lambda both: add(both, captured)
            )

        arguments = [sequence, *start, *add.captured]
        operation = Operation(compute, [False] * len(arguments))
        return self._tensor_call(operation, arguments, type_, place)

    def _sequence_sum(self, block, argument, place):
        element = argument.type.element
        operation = Operation(
            lambda variant: sequences.sum_elements(variant, element), [False]
        )
        return self._tensor_call(operation, [argument], element, place)

    def _local_function(self, function, slots: Value) -> LocalFunction:
        """What `function` does with `slots`, as part of one operation."""
        before = len(self._calls)
        results = leaves(function(slots))
        calls = self._calls[before:]
        del self._calls[before:]
        return LocalFunction(leaves(slots), results, calls)

    def _as_type(self, value: Value, type_: tff.Type) -> Value:
        """A value as one of a type that has fewer known dimensions."""
        if isinstance(value, Record):
            _, types = _fields(type_)
            items = map(self._as_type, value.items, types)
            return Record(value.names, tuple(items))
        if value.type == type_:
            return value
        return self._operation(tf.identity, [value], type_, value.place)

    def _reduction(
        self, kind, sources, zero=(), accumulate=None, maxima=(), moduli=()
    ) -> list[Leaf]:
        read = (*sources, *zero, *maxima, *moduli)
        stage = max((leaf.stage for leaf in read), default=0)
        reduction = Reduction(
            kind,
            sources,
            stage,
            list(zero),
            accumulate,
            list(maxima),
            list(moduli),
        )
        self._reductions.append(reduction)
        reduction.results = [
            Reduced(leaf.type, SERVER, stage + 1, reduction, index)
            for index, leaf in enumerate(zero or sources)
        ]
        return reduction.results

    _HANDLERS: ClassVar = {
        _fw.Reference: _reference,
        _fw.Selection: _selection,
        _fw.Struct: _struct,
        _fw.Block: _block,
        _fw.Lambda: _lambda,
        _fw.Call: _call,
        _fw.CompiledComputation: _compiled,
        _fw.Literal: _literal,
        _fw.Intrinsic: _intrinsic,
    }

    _INTRINSICS: ClassVar = {
        "federated_map": _map,
        "federated_map_all_equal": _map,
        "federated_apply": _apply,
        "federated_eval_at_clients": _eval_at_clients,
        "federated_eval_at_server": _eval_at_server,
        "federated_broadcast": _pass_through,
        "federated_value_at_clients": _pass_through,
        "federated_value_at_server": _pass_through,
        "federated_zip_at_clients": _pass_through,
        "federated_zip_at_server": _pass_through,
        "federated_sum": _sum,
        "federated_min": _min,
        "federated_max": _max,
        "federated_aggregate": _aggregate,
        "federated_mean": _mean,
        "federated_weighted_mean": _weighted_mean,
        "federated_secure_sum": _secure_sum,
        "federated_secure_sum_bitwidth": _secure_sum_bitwidth,
        "federated_secure_modular_sum": _secure_modular_sum,
        "federated_select": _select,
        "federated_secure_select": _select,
        "sequence_map": _sequence_map,
        "sequence_reduce": _sequence_reduce,
        "sequence_sum": _sequence_sum,
    }


def _fields(type_: tff.StructType) -> tuple[tuple, list[tff.Type]]:
    """Names (None where there is none) and types of a structure's fields."""
    pairs = list(tff.structure.iter_elements(type_))
    return tuple(n for n, _ in pairs), [t for _, t in pairs]


def _largest_of_bits(bits: tf.Tensor) -> tf.Tensor:
    """The largest number of so many bits; TFF's secure sums have 62."""
    most = tf.debugging.assert_less_equal(
        bits, tf.cast(62, bits.dtype), "a secure sum has at most 62 bits"
    )
    with tf.control_dependencies([most]):
        return tf.bitwise.left_shift(np.int64(1), tf.cast(bits, tf.int64)) - 1


def _slots(like: Value | tff.Type) -> Value:
    """Leaves that stand for values of a type, or like those of a value."""
    if isinstance(like, Record):
        return Record(like.names, tuple(map(_slots, like.items)))
    if isinstance(like, Leaf):
        return Leaf(like.type, SERVER, 0)
    if isinstance(like, tff.StructType):
        names, types = _fields(like)
        return Record(names, tuple(map(_slots, types)))
    return Leaf(like, SERVER, 0)


def _like(value: Value, replacements) -> Value:
    """`value` with its leaves replaced, in order."""
    if isinstance(value, Record):
        return Record(
            value.names,
            tuple(_like(item, replacements) for item in value.items),
        )
    return next(replacements)
