"""A runtime is there while it is open, and only then."""

from tests import forked

_PROGRAM = """
import numpy as np
import tensorflow_federated as tff
from tff_cnn import runtime
from tff_cnn.runtime import native

@tff.tensorflow.computation(np.float32)
def double(x):
    return 2 * x

workers = []
start = native.NativeWorker.__init__

def remember(worker, *args, **kwargs):
    workers.append(worker)
    start(worker, *args, **kwargs)

native.NativeWorker.__init__ = remember
for _ in range(2):
    with runtime.use("native"):
        assert double(1.0) == 2.0
    try:
        double(1.0)
    except RuntimeError as error:
        print(error)
assert len(workers) == 2
with runtime.use("native"):
    with runtime.use("in_process"):
        assert double(2.0) == 4.0
    assert double(3.0) == 6.0
    workers[-1]._process.kill()
    workers[-1]._process.wait()
    try:
        double(1.0)
    except native.WorkerError as error:
        print(error)
"""


def test_opens_and_closes_and_a_dead_worker_is_an_error():
    program = forked.start("-c", _PROGRAM)
    output, errors = program.communicate()
    assert program.returncode == 0, errors
    assert output.count("no runtime is open") == 2
    assert "TFF's worker has ended with status -9" in output
