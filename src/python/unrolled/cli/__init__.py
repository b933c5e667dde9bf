"""The command `unrolled`: starts it, and turns errors into text."""

import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits; errors that a user can mend come without a traceback.

    Args:
        arguments: what to run, by default what was typed.
    """
    try:
        # Imported here because it needs the extra [train], and its absence is such an error.
        from ._commands import app

        app(args=None if arguments is None else list(arguments), prog_name="unrolled")
    except BrokenPipeError:
        # The reader, such as `head`, has what it wanted. Python would complain again on exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (ValueError, OSError, ImportError, MemoryError) as error:
        text = str(error) or type(error).__name__
        if isinstance(error, ImportError) and error.name in ("typer", "rich"):
            text = f'the command line needs the package "{error.name}": '
            text += 'pip install "unrolled[train]"'
        print(f"error: {text}", file=sys.stderr)
        sys.exit(1)
