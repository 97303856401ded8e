"""The command line: thin, over the public interface."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from metaest import __version__
from metaest.exceptions import MetaestError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, default=None
        None: those of the process.
    """
    options = _make_parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except MetaestError as error:
        print(f"metaest: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("metaest: stopped", file=sys.stderr)
        return 130


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
        "--picture", default="metaest_demo.png", help="where the picture goes (%(default)s)"
    )
    demo.add_argument("--no-picture", action="store_true", help="draw none (no matplotlib needed)")
    demo.add_argument("--seed", type=_seed, default=0, help="of all that is random (%(default)s)")
    demo.add_argument("--quiet", action="store_true", help="no progress bar")
    demo.set_defaults(run=_run_demo)
    return parser


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 2^32 - 1, got {text!r}")
    return int(text)


def _run_demo(options: argparse.Namespace) -> int:
    from metaest.demo import run_demo

    run_demo(
        None if options.no_picture else options.picture,
        random_state=options.seed,
        progress=not options.quiet,
    )
    return 0
