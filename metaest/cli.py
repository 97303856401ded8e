"""The command line: it reads arguments, calls the library and prints what comes back."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from metaest import __version__
from metaest.exceptions import DatasetError, MetaestError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, default=None
        None: those of the process.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal without "±" shows "?" for it
        sys.stdout.reconfigure(errors="replace")
    options = _make_parser().parse_args(arguments)
    try:
        status = int(options.run(options))
        print(end="", flush=True)  # a reader that left is noticed here, not at exit
        return status
    except MetaestError as error:
        print(f"metaest: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("metaest: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader left, such as head
        _discard_output()
        return 141
    except OSError as error:  # a full disk, say
        _discard_output()
        print(f"metaest: reading or writing failed: {error}", file=sys.stderr)
        return 1


def _discard_output() -> None:
    """Send what is left to nowhere, so that Python does not fail on it at exit."""
    with suppress(OSError):  # not a file
        stdout = sys.stdout.fileno()
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout)


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="metaest", description="Learn from past tasks: meta-learning for scikit-learn users."
    )
    parser.add_argument("--version", action="version", version=f"metaest {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    demo = commands.add_parser(
        "demo", help="meta-train on embedded data and compare with usual classifiers (< 1 min)"
    )
    demo.add_argument(
        "--picture",
        default="metaest_demo.png",
        help="file or folder of the picture (default: %(default)s)",
    )
    demo.add_argument("--no-picture", action="store_true", help="draw none (no matplotlib needed)")
    demo.add_argument("--seed", type=_seed, default=0, help="random seed (default: %(default)s)")
    demo.add_argument("--quiet", action="store_true", help="no progress bar")
    demo.set_defaults(run=_run_demo)
    _add_suggest(commands)
    return parser


def _add_suggest(commands: Any) -> None:
    suggest = commands.add_parser(
        "suggest",
        help="rank configurations for a data set, from past searches; runs none of them",
        epilog="Empty cells are missing; so are NA, NaN, None, null and ? in a column of numbers. "
        "Rows without a target are left out.",
    )
    suggest.add_argument("file", help="a CSV file with a header, in UTF-8")
    suggest.add_argument(
        "--target", required=True, metavar="COLUMN", help="name of the target column"
    )
    suggest.add_argument(
        "--estimator",
        default="all",
        choices=["all", "svc", "forest", "boosting", "logistic"],
        help="model to tune (default: %(default)s)",
    )
    suggest.add_argument(
        "--history",
        default="embedded",
        metavar="PATH",
        help="past searches of your own: a file or a URL (default: those that come with metaest)",
    )
    suggest.add_argument(
        "--n", type=_count, default=5, help="number of suggestions (default: %(default)s)"
    )
    suggest.add_argument(
        "--metric",
        help="metric to rank by (default: accuracy, or your history's most frequent)",
    )
    suggest.add_argument(
        "--direction",
        default="maximize",
        choices=["maximize", "minimize"],
        help="whether higher or lower is better (default: %(default)s)",
    )
    _add_format(suggest)
    suggest.add_argument("--json", action="store_true", help="print JSON")
    suggest.set_defaults(run=_run_suggest)


def _add_format(suggest: Any) -> None:
    """Add what the CSV file is like."""
    suggest.add_argument(
        "--separator",
        type=_separator,
        default=",",
        help="character between the columns (default: %(default)s)",
    )
    suggest.add_argument(
        "--decimal",
        default=".",
        choices=[".", ","],
        help="what numbers have before their decimals (default: %(default)s)",
    )


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 2^32 - 1, got {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, got {text!r}")
    return int(text)


def _separator(text: str) -> str:
    text = {r"\t": "\t"}.get(text, text)
    if len(text) != 1:
        raise argparse.ArgumentTypeError(f"must be one character, got {text!r}")
    return text


def _check_exists(file: str) -> None:
    try:
        Path(file).expanduser().stat()
    except OSError as error:
        raise DatasetError(f"{file} cannot be read as a CSV file: {error.strerror}") from error


def _run_demo(options: argparse.Namespace) -> int:
    from metaest.demo import run_demo

    run_demo(
        None if options.no_picture else options.picture,
        random_state=options.seed,
        progress=not options.quiet,
    )
    return 0


def _run_suggest(options: argparse.Namespace) -> int:
    _check_exists(options.file)  # before the imports, which take seconds
    from metaest.tuning import suggest
    from metaest.tuning._embedded import MODELS
    from metaest.tuning._suggestion import format_suggestions
    from metaest.tuning._table_file import read_table
    from metaest.tuning._words import count

    table = read_table(
        options.file, options.target, separator=options.separator, decimal=options.decimal
    )
    found = suggest(
        options.history,
        table.X,
        table.y,
        options.n,
        estimator=None if options.estimator == "all" else MODELS[options.estimator](),
        metric=options.metric,
        direction=options.direction,
    )
    if table.n_left_out:
        left_out = count(table.n_left_out, "row")
        print(f"metaest: left out {left_out} without a target", file=sys.stderr)
    if options.json:
        print(json.dumps([suggestion.to_dict() for suggestion in found], indent=2))
        return 0
    rows, columns = count(len(table.X), "row"), count(table.X.shape[1], "column")
    print(f"{options.file}: {rows}, {columns} and {options.target!r}")
    print("Estimates from past searches; nothing was run on this file. Try in this order:\n")
    print(format_suggestions(found))
    if options.history == "embedded":
        print(
            "\n'of the best': from the worst (0 %) to the best (100 %) score known on a data set, "
            "on average.\nAll but HistGradientBoosting were searched with gaps filled and strings "
            "encoded,\nSVC and LogisticRegression also with standardised columns."
        )
    return 0
