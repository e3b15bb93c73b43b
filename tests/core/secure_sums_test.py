import threading

import pytest

from tff_cnn.core import secure_sums


def begin(moduli, num_clients):
    return moduli, num_clients


def test_sums_are_plain_but_where_somebody_executes_them():
    assert secure_sums.begun([7], 3) is None
    with secure_sums.executed_by(begin):
        assert secure_sums.begun([7], 3) == ([7], 3)
        assert secure_sums.begun([7], 0) is None
        found = []
        thread = threading.Thread(
            target=lambda: found.append(secure_sums.begun([7], 3))
        )
        thread.start()
        thread.join()
        assert found == [None]
    assert secure_sums.begun([7], 3) is None


def test_an_error_leaves_nothing_behind():
    with pytest.raises(KeyError), secure_sums.executed_by(begin):
        raise KeyError
    assert secure_sums.begun([7], 3) is None
