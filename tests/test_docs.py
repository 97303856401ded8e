"""What the README and the guides show: the code compiles, finds its names and runs."""

import ast
import builtins
import importlib
import inspect
import re
import textwrap
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits
from sklearn.utils import Bunch

import metaest
from metaest import MetaFewShotClassifier, datasets
from metaest.learners import MAML, ProtoNet
from metaest.tasks import TaskSet

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


def readers_own() -> dict[str, object]:
    """Return what the pages have the reader bring, by its name there: digits."""
    digits = load_digits()
    rows = np.concatenate([np.flatnonzero(digits.target == k)[:44] for k in range(10)])
    rows = np.random.default_rng(0).permutation(rows)
    X, y = digits.data[rows] / 16, digits.target[rows]
    old, new = np.flatnonzero(y < 6), np.flatnonzero(y >= 6)
    support = np.concatenate([np.flatnonzero(y == k)[:3] for k in range(6, 10)])
    query = np.setdiff1d(new, support)
    frame = pd.DataFrame(X[:, 18:24]).add_prefix("column ")
    frame["text"] = np.where(X[:, 36] > 0.5, "dark", "light")
    frame.iloc[3, 1] = np.nan
    means = {k: X[y == k].mean(0) for k in range(10)}
    tasks = TaskSet.from_pool(X, y)
    maml = MetaFewShotClassifier(MAML(), n_episodes=16, random_state=0)
    return {
        "X": X,
        "y": y,
        "alphabet": y % 2,
        "tasks": tasks,
        "X1": X[y < 5],
        "y1": y[y < 5],
        "X2": X[y >= 5],
        "y2": y[y >= 5],
        "X_many_classes": X[old],
        "y_many_classes": y[old],
        "X_support": X[support],
        "y_support": y[support],
        "X_query": X[query],
        "y_query": y[query],
        "frame": frame,
        "new_frame": frame[:50],
        "descriptions": means,
        "new_descriptions": {k: means[k] for k in range(6, 10)},
        "maml": maml.fit_meta(tasks),
        "clf": MetaFewShotClassifier("protonet", random_state=0),
        "MyLearner": ProtoNet,
    }


def few_intents() -> Bunch:
    """Return texts like those of CLINC150, which not every machine has: 4 intents a domain."""
    words = [f"{a}{b}" for a in ("pay", "card", "rain", "shot", "fly") for b in "abcdefgh"]
    rng = np.random.default_rng(0)
    texts = [
        (" ".join([words[intent], *rng.choice(words, 3)]), f"intent {intent}", intent // 4)
        for intent in range(40)
        for _ in range(24)
    ]
    text, target, domain = (np.array(column) for column in zip(*texts, strict=True))
    names = np.array([f"domain {k}" for k in range(10)])
    return Bunch(text=text, target=target, domain=names[domain], domain_names=names)


_LONG = pytest.param("docs/guides/few_shot.rst", marks=pytest.mark.slow)


@pytest.mark.parametrize("page", [_LONG if page in _LONG.values else page for page in PAGES])
def test_a_page_runs_from_top_to_bottom(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "fetch_clinc150", few_intents)
    given = given_on(page)
    own = readers_own() if given else {}
    names = {"__name__": page} | {name: own[name] for name in given}
    defaults = MetaFewShotClassifier.__init__.__kwdefaults__
    monkeypatch.setitem(defaults, "n_episodes", 32)  # where a block says nothing
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
