"""House rules that neither ruff nor import-linter can hold."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import metaest

ROOT = Path(metaest.__file__).parent
FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))
MAX_LINES = 300
MAX_FUNCTION_LINES = 40  # without the docstring


def _parse(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text(encoding="utf-8"))


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _is_private(name: str) -> bool:
    parts = name.split(".")
    return any(part.startswith("_") and not part.startswith("__") for part in parts)


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    if ast.get_docstring(node) is not None and len(node.body) > 1:
        first = node.body[1]
    assert node.end_lineno is not None
    return node.end_lineno - first.lineno + 1


@pytest.mark.parametrize("file", [file for file in FILES if file != "_sklearn.py"])
def test_private_scikit_learn_names_stay_in_one_file(file: str) -> None:
    names = [name for name in _imported(_parse(file)) if name.split(".")[0] == "sklearn"]
    found = [name for name in names if _is_private(name) or ".experimental" in name]
    assert found == [], "import these from metaest._sklearn"


@pytest.mark.parametrize("file", FILES)
def test_files_stay_short(file: str) -> None:
    assert len((ROOT / file).read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("file", FILES)
def test_functions_stay_short(file: str) -> None:
    functions = (
        node
        for node in ast.walk(_parse(file))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    long = {node.name: _length(node) for node in functions if _length(node) > MAX_FUNCTION_LINES}
    assert long == {}
