"""What the README and the guides show: the code compiles, finds its names and, if it can, runs."""

import ast
import builtins
import importlib
import inspect
import re
import textwrap
import tomllib
from pathlib import Path

import pytest

import metaest

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "docs/index.rst"]
PAGES += sorted(f"docs/guides/{path.name}" for path in (ROOT / "docs" / "guides").glob("*.rst"))
_BLOCK = {
    ".md": re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL),
    ".rst": re.compile(r"^\.\. code-block:: python\n((?:\n|   .*\n)+)", re.MULTILINE),
}


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks_of(page: str) -> list[str]:
    """Return the Python blocks of a page, which share their names from top to bottom."""
    return [textwrap.dedent(block) for block in _BLOCK[Path(page).suffix].findall(read(page))]


def given_on(page: str) -> set[str]:
    """Return the names that are the reader's own, from the comments ``.. given: X y``."""
    lines = re.findall(r"^\.\. given: (.+)$", read(page), re.MULTILINE)
    return {name for line in lines for name in line.split()}


def names_in(tree: ast.Module) -> tuple[set[str], set[str]]:
    """Return the names that code uses and those that it makes."""
    used, made = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else made).add(node.id)
        elif isinstance(node, ast.alias):
            made.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            made.add(node.name)
        elif isinstance(node, ast.arg):
            made.add(node.arg)
    return used, made


@pytest.mark.parametrize("page", PAGES)
def test_names_are_imported_made_or_given(page: str) -> None:
    given, known, unknown = given_on(page), set(dir(builtins)), []
    unused = set(given)
    blocks = blocks_of(page)
    assert blocks
    for block in blocks:
        used, made = names_in(ast.parse(block))
        known |= made
        unknown += sorted(used - known - given)
        unused -= used
    assert unknown == []
    assert unused == set()


@pytest.mark.parametrize("page", PAGES)
def test_imports_work(page: str) -> None:
    imports = [
        node
        for block in blocks_of(page)
        for node in ast.parse(block).body
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    exec(compile(ast.Module(imports, []), page, "exec"), {})


@pytest.mark.parametrize("page", [page for page in PAGES if not given_on(page)])
def test_a_page_that_needs_nothing_of_the_reader_runs(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": page}
    for block in blocks_of(page):
        short = re.sub(r"n_episodes=\d+", "n_episodes=16", block)
        exec(compile(short, page, "exec"), names)


def test_constants_and_types_are_on_the_api_page() -> None:
    public = []
    for module in (importlib.import_module(f"metaest.{name}") for name in metaest._SUBMODULES):
        values = {name: getattr(module, name) for name in module.__all__}
        public += [
            f"{module.__name__}.{name}"
            for name, value in values.items()
            if not inspect.isclass(value) and not inspect.isroutine(value)  # these have pages
        ]
    listed = re.findall(r"^\.\. py:data:: ([\w.]+)$", read("docs/api.rst"), re.MULTILINE)
    assert sorted(listed) == sorted(public)


def test_the_floors_in_contributing_have_all_modules() -> None:
    rows = re.findall(r"^\| \d \| ([^|]+) \|", read("CONTRIBUTING.md"), re.MULTILINE)
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    modules = (path.stem for path in (ROOT / "metaest").iterdir() if not path.name.startswith("."))
    assert listed == set(modules) - {"__init__", "__pycache__", "py"}


def test_the_install_page_has_all_dependencies() -> None:
    text = read("docs/install.rst").split("Always installed: ")[1].split("\n\n")[0].lower()
    project = tomllib.loads(read("pyproject.toml"))["project"]
    names = [re.match(r"[\w-]+", dependency)[0] for dependency in project["dependencies"]]
    assert [name for name in names if name not in text] == []
