"""Configuration of the documentation; builds offline with ``sphinx-build -W docs docs/_build``."""

import os
import re
from pathlib import Path
from typing import Any

# The gallery draws without a display, and each small tensor on one thread.
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import metaest

ROOT = Path(__file__).parents[1]

project = "metaest"
author = "The metaest developers"
project_copyright = f"2026, {author}"
version = release = metaest.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "auto_examples/**.ipynb", "**/GALLERY_HEADER.rst"]
templates_path = ["_templates"]
html_theme = "furo"
html_title = f"metaest {release}"
html_show_sourcelink = False
default_role = None

autosummary_generate = True
autosummary_imported_members = True  # public classes live in private modules
autosummary_ignore_module_all = False
autodoc_typehints = "none"  # numpydoc's Parameters section has the types, with shapes
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
suppress_warnings = [
    "ref.citation",  # a paper is listed even where no sentence points at it
    "ref.term",  # docstrings inherited from scikit-learn point into its own glossary
]

sphinx_gallery_conf = {
    "examples_dirs": [str(ROOT / "examples")],
    "gallery_dirs": ["auto_examples"],
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"/(?!plot_)[^/]*\.py$",
    "within_subsection_order": "FileNameSortKey",  # files are numbered by journey
    "abort_on_example_error": True,
    "download_all_examples": False,
    "write_computation_times": False,
    "show_signature": False,
    "plot_gallery": "True",
    "parallel": 2,
    "min_reported_time": 1,
}

# Methods that scikit-learn adds, and references of inherited docstrings into its user guide.
_ADDED = re.compile(r"set_\w+_request$|get_metadata_routing$")
_REFERENCE = re.compile(r":ref:`([^`<]+?)\s*(?:<[^>]+>)?`")


def _skip(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    return True if _ADDED.match(name) else None


def _unlink(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    if str(getattr(obj, "__module__", "")).startswith(("sklearn.", "skorch.", "torch.")):
        lines[:] = _REFERENCE.sub(r"\1", "\n".join(lines)).split("\n")


def setup(app: Any) -> None:
    app.connect("autodoc-skip-member", _skip)
    app.connect("autodoc-process-docstring", _unlink)
