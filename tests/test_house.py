"""The rules of the house: who imports whom, and what the sources may not contain."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "charrnn"
MODULES = {p.relative_to(PACKAGE.parent).with_suffix("").as_posix().replace("/", "."): p for p in PACKAGE.rglob("*.py")}
KNOWN = {name.rsplit(".", depth)[0] for name in MODULES for depth in range(3)} | {*MODULES}
BASE = {
    "cache",
    "errors",
    "files",
    "folders",
    "interrupt",
    "json_files",
    "npy",
    "npz",
    "runtime",
    "settings",
    "__init__",
}
ALLOWED = {  # arrows point down only
    "__init__": set(),
    "__main__": {"cli"},
    "errors": set(),
    "files": {"errors"},
    "folders": {"errors", "files", "interrupt", "json_files"},
    "interrupt": {"errors"},
    "json_files": {"files"},
    "npy": set(),
    "npz": {"files", "npy"},
    "runtime": {"errors"},
    "settings": {"errors"},
    "cache": {"__init__", "errors", "files", "folders", "interrupt", "runtime"},
    "engine": {"__init__", "cache", "errors", "interrupt", "runtime"},
    "cell": {"engine", "model"},
    "text": BASE | {"text"},
    "model": BASE | {"engine", "model"},
    "training": BASE | {"engine", "model", "text", "training"},
    "sampling": BASE | {"engine", "model", "sampling"},
    "gradcheck": BASE | {"engine", "model", "training"},
    "cli": BASE | {"model", "text", "training", "sampling", "gradcheck", "cli", "bench"},
    "bench": BASE | {"engine", "model", "training", "sampling"},
}


def imported(path):
    """Modules of the project that a file imports, and all others' top names."""
    inside, outside = set(), set()
    for node in ast.walk(ast.parse(path.read_text())):
        assert not (isinstance(node, ast.ImportFrom) and node.level), "relative imports would not be seen here"
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        if isinstance(node, ast.ImportFrom) and node.module == "charrnn":  # from charrnn import runtime
            names = [f"charrnn.{a.name}" if f"charrnn.{a.name}" in KNOWN else "charrnn" for a in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "charrnn":
                inside.add(parts[1] if len(parts) > 1 else "__init__")
            else:
                outside.add(parts[0])
    return inside, outside


@pytest.mark.parametrize("name", sorted(MODULES))
def test_arrows_point_down(name):
    part = name.split(".")[1] if "." in name else "__init__"
    inside, _ = imported(MODULES[name])
    assert inside - {part} <= ALLOWED[part]


@pytest.mark.parametrize(
    "line", ["from charrnn import training", "from charrnn.training import loop", "import charrnn.training"]
)
def test_an_arrow_is_seen_however_it_is_drawn(tmp_path, line):
    (tmp_path / "module.py").write_text(line)
    assert imported(tmp_path / "module.py") == ({"training"}, set())


def test_only_the_five_dependencies_are_imported():
    import sys

    allowed = {"typer", "numpy", "numba", "llvmlite", "rich", "tqdm"} | set(sys.stdlib_module_names)
    further = {"charrnn.sampling.pattern": {"greenery"}}  # of an extra
    assert {name: extra for name, path in MODULES.items() if (extra := imported(path)[1] - allowed)} == further


def test_only_runtime_touches_the_environment():
    users = [name for name, path in MODULES.items() if re.search(r"\benviron\b|getenv", path.read_text())]
    assert users == ["charrnn.runtime"]


def test_nothing_from_a_file_is_executed():
    bad = re.compile(r"\b(eval|exec|pickle|marshal|shelve)\b *[(.]|allow_pickle=True")
    assert [name for name, path in MODULES.items() if bad.search(path.read_text())] == ["charrnn.model.own"]
    assert not {name for name, path in MODULES.items() if imported(path)[1] & {"pickle", "marshal", "shelve", "dill"}}
    users = {name for name, path in MODULES.items() if "read_cell" in path.read_text()}
    assert users == {"charrnn.model.own", "charrnn.cli.options"}  # what --cell FILE.py:NAME names, and nothing else
