"""The command `lazyrich`."""

import argparse
import io
import os
import sys
from collections.abc import Sequence

from . import __version__, commands
from .sweeps.spec import SpecError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # its encoding may lack characters
            stream.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    try:
        status = options.run(options)
        sys.stdout.flush()
        return status
    except (commands.UsageError, SpecError) as error:
        print(f"lazyrich: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        for note in getattr(error, "__notes__", ()):
            print(note)
        return 130
    except BrokenPipeError:  # such as `lazyrich list | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lazyrich",
        description="Exact learning dynamics of deep linear networks.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    parsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in commands.ALL:
        module.add(parsers)
    return parser


if __name__ == "__main__":
    sys.exit(main())
