"""A package imports from the layers below it and from itself, no other."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]

# Packages of one layer never import one another.
LAYERS = [
    {"tff_cnn.core"},
    {
        "tff_cnn.data",
        "tff_cnn.models",
        "tff_cnn.privacy",
        "tff_cnn.selection",
        "tff_cnn.runtime",
    },
    {"tff_cnn.aggregators", "tff_cnn.tasks"},
    {"tff_cnn.algorithms", "tff_cnn.evaluation"},
    {"tff_cnn.components"},
    {"tff_cnn.settings"},
    {"tff_cnn.config"},
    {"tff_cnn.identity", "tff_cnn.inspection"},
    {"tff_cnn.training"},
    {"tff_cnn.leakage", "tff_cnn.run"},
    {"experiments"},
]
# Only entry points decide where computations run.
# An entry says where what it describes is done, which may be in a layer above:
# no import, but a name that is loaded there.
NAMED_BY_ENTRIES = {
    "tff_cnn.algorithms": {"tff_cnn.training"},
    "tff_cnn.privacy": {"tff_cnn.aggregators", "tff_cnn.algorithms"},
}
RUNTIME_USERS = {
    "experiments",
    "tff_cnn.config",
    "tff_cnn.run",
    "tff_cnn.runtime",
}


def package_of(module: str) -> str:
    parts = module.split(".")
    return "experiments" if parts[0] == "experiments" else ".".join(parts[:2])


def layer_of(package: str) -> int:
    return next(i for i, layer in enumerate(LAYERS) if package in layer)


def own_imports(path: pathlib.Path) -> set[str]:
    """Packages of ours that a file imports or names in a registry."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "tff_cnn":
                modules |= {f"tff_cnn.{alias.name}" for alias in node.names}
            modules.add(node.module)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            name, colon, _ = node.value.partition(":")
            if colon and name.replace(".", "").replace("_", "").isalnum():
                modules.add(name)
    return {
        package_of(m)
        for m in modules
        if m.startswith(("tff_cnn.", "experiments"))
    }


def source_files() -> list[pathlib.Path]:
    return [
        path
        for top in ("tff_cnn", "experiments")
        for path in sorted((ROOT / top).rglob("*.py"))
        if path != ROOT / "tff_cnn" / "__init__.py"
    ]


@pytest.mark.parametrize(
    "path", source_files(), ids=lambda p: str(p.relative_to(ROOT))
)
def test_imports_only_from_layers_below(path):
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    package = package_of(module)
    has_entries = module.endswith(("__init__", "_entries"))
    named = NAMED_BY_ENTRIES.get(package) if has_entries else ()
    for imported in own_imports(path) - {package, *(named or ())}:
        assert layer_of(imported) < layer_of(package), (
            f"{path} imports {imported}"
        )
        if imported == "tff_cnn.runtime":
            assert package in RUNTIME_USERS, f"{path} knows its runtime"


def test_the_rule_sees_imports_of_all_kinds(tmp_path):
    path = tmp_path / "sample.py"
    path.write_text(
        "import tff_cnn.data.digits\n"
        "from tff_cnn import tasks\n"
        "from tff_cnn.models import cnn\n"
        "X = {'a': 'tff_cnn.runtime.native:open_runtime'}\n"
    )
    assert own_imports(path) == {
        "tff_cnn.data",
        "tff_cnn.tasks",
        "tff_cnn.models",
        "tff_cnn.runtime",
    }


def test_of_training_only_engines_know_what_a_round_is_made_of():
    """The loop and its hooks work for engines that are no TFF process."""
    for path in (ROOT / "tff_cnn" / "training").glob("*.py"):
        text = path.read_text()
        for word in ("tensorflow_federated", "global_model_weights"):
            assert word not in text, f"{path} knows of {word}"


def test_tests_mirror_the_package():
    for path in source_files():
        relative = path.relative_to(ROOT)
        if relative.parts[0] == "experiments" or path.name == "__init__.py":
            continue
        mirrored = ROOT / "tests" / pathlib.Path(*relative.parts[1:])
        mirrored = mirrored.with_name(f"{mirrored.stem}_test.py")
        assert mirrored.is_file(), f"{relative} has no {mirrored}"
