import math

import pytest

from tff_cnn.core.errors import UsageError
from tff_cnn.core.registry import Registry

REGISTRY = Registry("shape", {"root": "math:sqrt", "join": "os:path.join"})


def test_get_imports_the_object():
    assert REGISTRY.get("root") is math.sqrt
    assert REGISTRY.get("join")("a", "b") == "a/b"
    assert REGISTRY.names == ("root", "join")


def test_unknown_name_names_the_nearest_and_all():
    with pytest.raises(
        UsageError,
        match="unknown shape 'roto': did you mean 'root'\\? valid are root",
    ):
        REGISTRY.check("roto")


def test_far_off_name_gets_no_guess():
    with pytest.raises(UsageError) as error:
        REGISTRY.get("zzz")
    assert "did you mean" not in str(error.value)


def test_nothing_is_imported_before_it_is_asked_for():
    registry = Registry("shape", {"broken": "no_such_module:thing"})
    assert "broken" in registry
    with pytest.raises(ModuleNotFoundError):
        registry.get("broken")
