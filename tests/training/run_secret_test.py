import numpy as np
import pytest

from tff_cnn.core.errors import UsageError
from tff_cnn.training.run_secret import RunSecret


def test_a_secret_survives_and_only_its_owner_reads_it(tmp_path):
    path = tmp_path / "secret.key"
    secret = RunSecret.new()
    secret.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert RunSecret.load(path) == secret
    RunSecret.new().save(path)  # Of a run that has not begun.
    assert RunSecret.load(path) != secret
    assert [p.name for p in tmp_path.iterdir()] == ["secret.key"]


def test_what_follows_from_it_differs_by_purpose_and_branch():
    one, other = RunSecret.new(), RunSecret.new()
    roots = {
        secret.root(purpose, branch)
        for secret in (one, other)
        for purpose in ("cohorts", "metrics", "noise")
        for branch in (1, 2)
    }
    assert len(roots) == 12 and min(roots) > 2**200
    seed = one.noise_seed(1)
    assert seed.dtype == np.int64 and seed.shape == (2,)
    assert (seed == one.noise_seed(1)).all()
    assert (seed != one.noise_seed(2)).all()
    assert (seed != other.noise_seed(1)).all()


def test_it_is_not_shown():
    secret = RunSecret.new()
    assert secret.key.hex() not in repr(secret)
    assert str(secret.key) not in repr(secret)


def test_one_that_everybody_knows_says_so():
    assert RunSecret.deterministic(3) == RunSecret.deterministic(3)
    assert RunSecret.deterministic(3) != RunSecret.deterministic(4)
    assert RunSecret.deterministic(3).is_known and not RunSecret.new().is_known


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        (b"", "holds 0 bytes"),
        (b"00ff", "holds 2 bytes"),
        (b"no number", "non-hexadecimal"),
        (b"\xff\xfe", "codec"),
    ],
)
def test_a_missing_or_damaged_one_is_an_error(tmp_path, content, reason):
    path = tmp_path / "secret.key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=reason) as error:
        RunSecret.load(path)
    assert str(path) in str(error.value) and "run_dir" in str(error.value)


def test_a_drawn_key_has_256_bits_and_no_two_are_alike():
    first, second = RunSecret.new().key, RunSecret.new().key
    assert len(first) == len(second) == 32
    assert first != second
