"""TFF's serialized TensorFlow graphs as functions of flat lists of tensors."""

import itertools
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_cnn.runtime.in_process.resources import isolate

_counter = itertools.count()


class GraphFunction:
    """One `tff.tensorflow.computation`, callable many times and in parallel.

    Inputs and outputs are flat, in the order of the computation's type. A
    sequence input is a dataset's variant tensor or, where the graph only ever
    takes the single element of it (`takes_element`), the tensors of that
    element: no dataset is made then.
    """

    def __init__(self, building_block: tff.framework.CompiledComputation):
        proto = building_block.proto
        kind = proto.WhichOneof("computation")
        if kind != "tensorflow":
            raise NotImplementedError(
                f"a computation of kind {kind!r} cannot run in this process."
            )
        self._proto = proto.tensorflow
        self._graph_def = tf.compat.v1.GraphDef()
        self._proto.graph_def.Unpack(self._graph_def)
        self._parameters = _leaves(self._proto.parameter)
        self._results = _leaves(self._proto.result)
        self._element_ops = [
            self._single_element_op(binding) for binding in self._parameters
        ]
        self._session_graph = self._shared_by_name()
        if self._session_graph is not None:
            return
        self._initialize_first()
        _rename_functions(self._graph_def, f"_{next(_counter)}")
        self._cuts: dict[tuple[bool, ...], Callable] = {}

    @property
    def takes_element(self) -> list[bool]:
        """For each input whether it can be given as a single element."""
        return [op is not None for op in self._element_ops]

    @property
    def definition(self) -> tuple[tf.compat.v1.GraphDef, list[str], list[str]]:
        """The graph, and the names of its inputs and outputs, in order."""
        names = [
            list(map(_tensor_name, bindings))
            for bindings in (self._parameters, self._results)
        ]
        return self._graph_def, *names

    def __call__(
        self, inputs: Sequence[tf.Tensor | list[tf.Tensor]]
    ) -> list[tf.Tensor]:
        """Adds the graph to the one that is being recorded.

        Args:
          inputs: One for each parameter leaf; a list is the tensors of a
            sequence's single element.

        Returns:
          One tensor for each result leaf; a variant for a sequence.
        """
        if self._session_graph is not None:
            return self._in_session(list(inputs))
        as_elements = tuple(isinstance(value, list) for value in inputs)
        if as_elements not in self._cuts:
            self._cuts[as_elements] = self._cut(as_elements)
        return self._cuts[as_elements](tf.nest.flatten(list(inputs)))

    def _cut(self, as_elements: tuple[bool, ...]) -> Callable:
        """The graph between inputs in the given form and the results."""
        imported = tf.compat.v1.wrap_function(
            lambda: tf.graph_util.import_graph_def(self._graph_def, name=""), []
        )
        graph = imported.graph
        feeds = []
        for binding, op, as_element in zip(
            self._parameters, self._element_ops, as_elements, strict=True
        ):
            if as_element:
                feeds += graph.get_operation_by_name(op).outputs
            else:
                feeds.append(graph.get_tensor_by_name(_tensor_name(binding)))
        num_inputs = len(feeds)
        token = self._proto.session_token_tensor_name
        if token:
            feeds.append(graph.get_tensor_by_name(token))
        results = [
            graph.get_tensor_by_name(_tensor_name(binding))
            for binding in self._results
        ]
        # A result that is an input as it stands cannot be fetched.
        position = {feed.ref(): index for index, feed in enumerate(feeds)}
        computed = [r for r in results if r.ref() not in position]
        function = imported.prune(feeds, computed) if computed else None

        def call(inputs: list[tf.Tensor]) -> list[tf.Tensor]:
            given = [
                tf.convert_to_tensor(value, feed.dtype)
                for value, feed in zip(inputs, feeds[:num_inputs], strict=True)
            ]
            if token:
                given.append(tf.constant(""))
            outputs = iter(function(*given) if function else ())
            return [
                given[position[result.ref()]]
                if result.ref() in position
                else next(outputs)
                for result in results
            ]

        return call

    def _shared_by_name(self) -> tf.Graph | None:
        """The graph itself if its resources cannot be made anew by each call.

        Raises:
          NotImplementedError: They cannot, and a session cannot run it either.
        """
        given = tf.compat.v1.GraphDef()
        given.CopyFrom(self._graph_def)
        try:
            isolate(self._graph_def)
            return None
        except NotImplementedError:
            bindings = [*self._parameters, *self._results]
            if any(b.WhichOneof("binding") == "sequence" for b in bindings):
                raise
        graph = tf.Graph()
        with graph.as_default():
            tf.graph_util.import_graph_def(given, name="")
        return graph

    def _in_session(self, inputs: list[tf.Tensor]) -> list[tf.Tensor]:
        """Lets each call run in a session, and with it resources, of its own.

        For queues and other things that TensorFlow shares by name; slower.
        """
        graph = self._session_graph
        results = [
            graph.get_tensor_by_name(_tensor_name(b)) for b in self._results
        ]
        # TensorFlow never lets go of what it holds of Python.
        this = weakref.ref(self)
        outputs = tf.numpy_function(
            lambda *arrays: this()._run_session(arrays),
            inputs,
            [result.dtype for result in results],
        )
        for output, result in zip(outputs, results, strict=True):
            output.set_shape(result.shape)
        return outputs

    def _run_session(self, arrays: Sequence[Any]) -> list[Any]:
        feeds = dict(
            zip(map(_tensor_name, self._parameters), arrays, strict=True)
        )
        if self._proto.session_token_tensor_name:
            feeds[self._proto.session_token_tensor_name] = ""
        config = tf.compat.v1.ConfigProto(device_count={"GPU": 0})
        with tf.compat.v1.Session(
            graph=self._session_graph, config=config
        ) as session:
            if self._proto.initialize_op:
                session.run(self._proto.initialize_op, feeds)
            return session.run(list(map(_tensor_name, self._results)), feeds)

    def _single_element_op(self, binding) -> str | None:
        """The op through which alone a sequence parameter is read."""
        if binding.WhichOneof("binding") != "sequence":
            return None
        name = _op_name(_tensor_name(binding))
        readers = [
            node
            for node in self._graph_def.node
            if any(_op_name(i) == name for i in node.input)
        ]
        if len(readers) == 1 and readers[0].op == "DatasetToSingleElement":
            return readers[0].name
        return None

    def _initialize_first(self) -> None:
        """Lets each call begin by initializing its variables and tables."""
        if not self._proto.initialize_op:
            return
        nodes = {node.name: node for node in self._graph_def.node}
        initialize = _op_name(self._proto.initialize_op)
        before, pending = set(), [initialize]
        while pending:
            name = pending.pop()
            if name not in before:
                before.add(name)
                pending += map(_op_name, nodes[name].input)
        for name, node in nodes.items():
            if name not in before and node.op not in ("Placeholder", "Const"):
                node.input.append(f"^{initialize}")


def _leaves(binding) -> list:
    """The tensor and sequence bindings of a nested binding, in order."""
    kind = binding.WhichOneof("binding")
    if kind is None:
        return []
    if kind == "struct":
        return [leaf for e in binding.struct.element for leaf in _leaves(e)]
    return [binding]


def _tensor_name(binding) -> str:
    if binding.WhichOneof("binding") == "sequence":
        return binding.sequence.variant_tensor_name
    return binding.tensor.tensor_name


def _rename_functions(graph_def, suffix: str) -> None:
    """Gives the graph's library names that no other graph's has.

    All graphs of a process share one library, and TFF's computations, each
    serialized by itself, do not take care of one another.
    """
    library = graph_def.library
    names = {
        f.signature.name: f.signature.name + suffix for f in library.function
    }
    bodies = [graph_def.node, *(f.node_def for f in library.function)]
    for node in (node for nodes in bodies for node in nodes):
        node.op = names.get(node.op, node.op)
        for attr in node.attr.values():
            for function in (attr.func, *attr.list.func):
                if function.name in names:
                    function.name = names[function.name]
    for function in library.function:
        function.signature.name = names[function.signature.name]
    for gradient in library.gradient:
        gradient.function_name = names[gradient.function_name]
        gradient.gradient_func = names[gradient.gradient_func]


def _op_name(tensor_name: str) -> str:
    """`a` for the tensors `a` and `a:1` and the control input `^a`."""
    return tensor_name.partition(":")[0].lstrip("^")
