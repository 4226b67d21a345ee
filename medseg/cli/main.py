"""How a call of the command line ends: one line for an error, and an exit code.

Exit codes: 0 all done; 1 some cases failed, or findings were made, each named; 2 the
request cannot be carried out; 130 interrupted.
"""

import errno
import sys
import warnings

import typer

from medseg.cli.app import app
from medseg.errors import MedsegError

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}
"""What the system says of disks that take no more."""


def main() -> None:
    """Runs the command line; errors end in one line and an exit code."""
    debug = "--debug" in sys.argv[1:]
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    arguments, plugins = _split_plugins(arguments)
    warnings.showwarning = _show_warning
    try:
        if plugins:
            from medseg.plugins import take

            for plugin in plugins:
                take(plugin)
        code = app(args=arguments, standalone_mode=False)
    except MedsegError as error:
        code = _fail(str(error), 2)
        if debug:
            raise
    except KeyboardInterrupt:
        code = _fail("interrupted", 130)
    except (typer.Abort, EOFError):
        code = _fail("interrupted", 130)
    except Exception as error:
        if hasattr(error, "exit_code") and hasattr(error, "show"):  # wrong usage
            error.show()
            code = 2
        elif debug:
            raise
        elif isinstance(error, OSError) and error.errno in NO_ROOM:
            code = _fail(f"{error.filename or 'a result'}: {error.strerror}", 2)
        else:
            code = _fail(f"{_in_words(error)} (a defect; --debug shows where)", 2)
    sys.exit(code if isinstance(code, int) else 0)


def _split_plugins(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The arguments without ``--plugin`` and its values, which every verb has."""
    left: list[str] = []
    plugins: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name != "--plugin":
            left.append(argument)
        elif equals:
            plugins.append(value)
        elif (following := next(rest, None)) is not None:
            plugins.append(following)
        else:
            left.append(argument)  # said to be incomplete by the verb
    return left, plugins


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _fail(message: str, code: int) -> int:
    typer.echo(f"medseg: {message}", err=True)
    return code


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: str | None = None,
) -> None:
    """Our own warnings as one line; those of libraries, which show values, do not."""
    del filename, lineno, file, line
    if category.__module__.startswith("medseg"):
        typer.echo(f"medseg: warning: {message}", err=True)
