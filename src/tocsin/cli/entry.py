"""``tocsin``: find the command, run it, and turn each failure into one clear line.

Commands are imported when they are called, so that ``tocsin --help`` is quick.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

__all__ = ["COMMANDS", "main", "run"]

#: Command -> its help line, shown without importing it.  A test holds the two together.
COMMANDS = {
    "up": "Start tocsin: doors, vault, detection, incidents.",
    "scan": "Look for attacks in log files; no server needed.",
    "parse": "Print log lines as canonical JSON events.",
    "send": "Send log files to a running tocsin.",
    "search": "Search the vault.",
    "tail": "Print events as they arrive.",
    "incidents": "List, show, acknowledge, comment and close incidents.",
    "rules": "List and test detection rules.",
    "verify": "Check that nobody changed the record.",
    "token": "Make, list and revoke the keys of sources.",
    "key": "Show and rotate the key-encryption key.",
    "doctor": "Check clock, disk, permissions, keys and rules.",
    "config": "Show, check and describe the settings.",
    "bench": "Measure how fast tocsin is on this machine.",
}

#: Exit statuses, the same for every command (``scan`` and ``verify`` add 3).
FAILURE, USAGE, INTERRUPTED = 1, 2, 130


def run() -> NoReturn:
    """What the ``tocsin`` command is: :func:`main`, and then the end of the process, at once.

    Libraries that scan columns keep threads, and tearing those down with the interpreter has been
    seen to abort a process that had done its work.  The exit status is a promise: it is not left to
    that.
    """
    try:
        main()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else FAILURE
    with contextlib.suppress(OSError, ValueError):  # whoever read them may be gone
        sys.stdout.flush()
        sys.stderr.flush()
    logging.shutdown()
    os._exit(code)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command line; never returns, always exits."""
    if importlib.util.find_spec("click") is None:
        sys.stderr.write(
            'tocsin: the command line needs the server extra; run: pip install "tocsin[server]"\n'
        )
        sys.exit(FAILURE)
    sys.exit(_run(list(sys.argv[1:] if arguments is None else arguments)))


def _run(arguments: list[str]) -> int:
    import click

    from tocsin.cli.group import group
    from tocsin.cli.out import complain, say
    from tocsin.errors import TocsinError, UsageError

    debug = "--debug" in arguments or bool(os.environ.get("TOCSIN_DEBUG"))
    _log_lines(debug=debug)
    try:
        result = group.main(arguments, prog_name="tocsin", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return USAGE
    except click.UsageError as error:
        if error.ctx is not None:
            usage = error.ctx.get_usage().split("\n")
            say(*usage, f"Try '{error.ctx.command_path} --help' for help.", "")
        say(f"Error: {_on_one_line(error.format_message())}")
        return USAGE
    except click.ClickException as error:
        complain(error.format_message())
        return FAILURE
    except (click.Abort, KeyboardInterrupt):
        complain("interrupted")
        return INTERRUPTED
    except (TocsinError, OSError) as error:
        if debug:
            raise
        complain(_words(error))
        return USAGE if isinstance(error, UsageError) else FAILURE
    except Exception as error:  # the root of the process: what nobody foresaw
        if debug:
            raise
        complain(
            f"unexpected {type(error).__name__}: {error}",
            "this is a defect of tocsin; run it again with --debug for the traceback",
        )
        return FAILURE
    return result if isinstance(result, int) else 0


def _log_lines(*, debug: bool) -> None:
    """What rooms log goes to stderr, a line each, with tracebacks only under --debug."""
    from tocsin.event.escape import visible

    class Line(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            text = f"tocsin: {visible(record.getMessage())}"
            if debug and record.exc_info:
                text += f"\n{self.formatException(record.exc_info)}"
            return text

    handler = logging.StreamHandler()
    handler.setFormatter(Line())
    logging.basicConfig(handlers=[handler])
    if debug:
        logging.getLogger("tocsin").setLevel(logging.DEBUG)


def _on_one_line(message: str) -> str:
    """click lists the choices of an option one a line, behind tabs."""
    return message.replace(",\n\t", ", ").replace("\n\t", " ")


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror.lower()}"
    return str(error) or type(error).__name__
