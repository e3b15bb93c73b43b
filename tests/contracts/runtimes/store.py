"""The reference's results, so that they need not be computed every time.

  python -m tests.contracts.runtimes.store

computes all cases on TFF's own worker and writes `native.json` beside this
file. It holds for the sources of the cases and the versions that it was made
of; where one is another, nothing is taken from it. A leaf is its dtype, shape
and bytes, so nothing is lost.
"""

import hashlib
import importlib
import importlib.metadata
import json
import pathlib
from typing import Any

import numpy as np
import tensorflow as tf

REFERENCE = "native"
PATH = pathlib.Path(__file__).with_name(f"{REFERENCE}.json")
COMMAND = "python -m tests.contracts.runtimes.store"
_VERSIONS = ("tensorflow", "tensorflow-federated", "numpy")
_MODULES = ("aggregators", "algorithms", "computations", "resources", "values")


def digest() -> str:
    """Of all that a case's result follows from, but the machine."""
    found = hashlib.sha256()
    for name in _VERSIONS:
        found.update(f"{name}=={importlib.metadata.version(name)}\n".encode())
    for path in sorted(PATH.parent.glob("*.py")):
        if path != pathlib.Path(__file__):
            found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()


def encode(result: Any) -> dict[str, Any]:
    """Nested arrays as JSON: how they are nested, and the leaves."""
    skeleton = tf.nest.map_structure(lambda _: 0, result)
    leaves = [np.asarray(leaf) for leaf in tf.nest.flatten(result)]
    return {
        "structure": repr(skeleton),
        "leaves": [
            [leaf.dtype.name, list(leaf.shape), _content(leaf)]
            for leaf in leaves
        ],
    }


def _content(leaf: np.ndarray) -> str | list[str]:
    if leaf.dtype == object:  # Byte strings.
        return [item.hex() for item in leaf.ravel()]
    return np.ascontiguousarray(leaf).tobytes().hex()


def arrays(encoded: dict[str, Any]) -> list[np.ndarray]:
    """The leaves again."""
    found = []
    for dtype, shape, content in encoded["leaves"]:
        if dtype == "object":
            items = [bytes.fromhex(item) for item in content]
            array = np.array(items, object)
        elif dtype.startswith("bytes"):
            array = np.frombuffer(
                bytes.fromhex(content), f"S{int(dtype[5:]) // 8}"
            )
        else:
            array = np.frombuffer(bytes.fromhex(content), dtype)
        found.append(array.reshape(shape))
    return found


def load(path: pathlib.Path = PATH) -> dict[str, dict[str, Any]]:
    """Case -> its encoded result; nothing where the file is of other cases."""
    if not path.exists():
        return {}
    content = json.loads(path.read_text())
    return content["cases"] if content["digest"] == digest() else {}


def compute(names: list[str]) -> dict[str, dict[str, Any]]:
    """The encoded results of cases on the reference."""
    from tests.contracts.runtimes.cases import CASES
    from tff_cnn import runtime

    with runtime.use(REFERENCE):
        return {name: encode(CASES[name].run()) for name in names}


def main() -> None:
    """Computes all cases, and writes them."""
    from tests.contracts.runtimes.cases import CASES

    for name in _MODULES:
        importlib.import_module(f"tests.contracts.runtimes.{name}")
    cases = [
        f'"{name}": {json.dumps(found)}'
        for name, found in sorted(compute(list(CASES)).items())
    ]
    joined = ",\n".join(cases)
    PATH.write_text(f'{{"digest": "{digest()}", "cases": {{\n{joined}\n}}}}\n')
    print(f"{len(cases)} cases, {PATH.stat().st_size:,} bytes: {PATH}")


if __name__ == "__main__":
    main()
