"""Each call of a graph has tables, variables and iterators of its own.

TensorFlow finds a resource by a name, under which all calls in a process share
it: clients, rounds and computations would see one another's data. TFF's worker
gives each call a session instead. Here an operation that makes such a resource
becomes one that makes a new one each time it runs, which is let go with the
last tensor that refers to it.

`isolate` works on a graph before it is imported. Whatever has no such form it
refuses by its name; `graph_function` then gives each call a session, too.
"""

from collections.abc import Iterator

# A variable of this name is made anew by each call.
_ANONYMOUS = b"cd2c89b7-88b7-44c8-ad83-06c2a9158347"
_ANONYMOUS_FORMS = {
    "HashTableV2": "AnonymousHashTable",
    "MutableHashTableV2": "AnonymousMutableHashTable",
    "MutableHashTableOfTensorsV2": "AnonymousMutableHashTableOfTensors",
    "MutableDenseHashTableV2": "AnonymousMutableDenseHashTable",
    "IteratorV2": "AnonymousIteratorV3",
}
# Attributes by which resources are shared: operations that have one of them
# make or use a resource under a name.
_NAMES = ("shared_name", "container", "use_node_name_sharing")
# Operations that run each of their functions at most once.
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_BRANCHES = ("If", "StatelessIf", "Case", "StatelessCase")


def isolate(graph_def) -> None:
    """Rewrites a `GraphDef`, in place, so that each call has its resources.

    Raises:
      NotImplementedError: Naming the operation whose resource all calls would
        share, or that could not be told from another's.
    """
    _check_functions(graph_def)
    first: dict[tuple, str] = {}
    for node in graph_def.node:
        if not _is_named(node):
            continue
        # The same name twice is the same resource twice.
        key = node.op, *(node.attr[name].s for name in _NAMES[:2])
        original = first.setdefault(key, node.name) if key[1] else node.name
        if original == node.name:
            _make_anonymous(node)
        else:
            _make_identity(node, original)


def _check_functions(graph_def) -> None:
    """Refuses functions that run more than once a call and make resources.

    In TensorFlow all runs of them would share what is made in the first.
    """
    once = _functions_that_run_once(graph_def)
    taken = {
        node.attr["shared_name"].s for node in graph_def.node if _is_named(node)
    } - {b""}
    for function in _reachable(graph_def):
        for node in function.node_def:
            if not _is_named(node):
                continue
            name = node.attr["shared_name"].s
            if function.signature.name not in once:
                raise NotImplementedError(
                    f"{node.op} ({node.name}) is made within a function that "
                    "may run many times in a call, which would all share it: "
                    "make it outside of loops, or use the native runtime."
                )
            if name in taken:
                raise NotImplementedError(
                    f"{node.op} ({node.name}) is shared between functions by "
                    f"the name {name.decode()!r}: pass it as an argument, or "
                    "use the native runtime."
                )
            taken |= {name} - {b""}
            _make_anonymous(node)


def _is_named(node) -> bool:
    return any(name in node.attr for name in _NAMES)


def _make_anonymous(node) -> None:
    if node.op == "VarHandleOp":
        node.attr["shared_name"].s = _ANONYMOUS
    elif node.op in _ANONYMOUS_FORMS:
        node.op = _ANONYMOUS_FORMS[node.op]
        for name in _NAMES:
            node.attr.pop(name, None)
    else:
        raise NotImplementedError(
            f"{node.op} ({node.name}) keeps what it holds under a name that "
            "all clients and rounds in a process share, and cannot be made "
            "anew for each: use the native runtime."
        )


def _make_identity(node, original: str) -> None:
    """Lets a node give the resource that another one makes."""
    for name in list(node.attr):
        if not name.startswith("_"):
            del node.attr[name]
    resource = 20  # DT_RESOURCE
    node.op = "Identity"
    node.attr["T"].type = resource
    node.input.insert(0, original)


def _functions_that_run_once(graph_def) -> set[str]:
    """Functions that a call of the graph runs at most once."""
    functions = {f.signature.name: f for f in graph_def.library.function}
    bodies = [graph_def.node, *(f.node_def for f in _reachable(graph_def))]
    uses = [name for body in bodies for _, name in _used(body, functions)]
    found, pending = set(), [graph_def.node]
    while pending:
        for node, name in _used(pending.pop(), functions):
            is_call = node.op in (*_CALLS, *_BRANCHES, name)
            if is_call and uses.count(name) == 1:
                found.add(name)
                pending.append(functions[name].node_def)
    return found


def _reachable(graph_def) -> list:
    """The library's functions that the graph may run."""
    functions = {f.signature.name: f for f in graph_def.library.function}
    found, pending = {}, [graph_def.node]
    while pending:
        for _, name in _used(pending.pop(), functions):
            if name not in found:
                found[name] = functions[name]
                pending.append(functions[name].node_def)
    return list(found.values())


def _used(nodes, functions) -> Iterator[tuple]:
    """Pairs (node, name of a function that it uses)."""
    for node in nodes:
        if node.op in functions:
            yield node, node.op
        for attr in node.attr.values():
            for function in (attr.func, *attr.list.func):
                if function.name in functions:
                    yield node, function.name
