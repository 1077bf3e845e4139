"""How a command ends: its exit status, and the one message on stderr when something is wrong."""

from __future__ import annotations

import logging
import sys
import traceback
from enum import IntEnum
from typing import Any

import click

from gammaflow.errors import (
    ConfigError,
    GammaflowError,
    RunInterruptedError,
    RunMismatchError,
    TooManyFailuresError,
)

_VERBOSE = "gammaflow.verbose"


class Status(IntEnum):
    """Exit statuses of every command."""

    DONE = 0
    ERROR = 1
    USAGE = 2
    TOO_MANY_FAILURES = 3
    NOT_CONVERGED = 4
    INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def status_of(error: BaseException) -> Status:
    """The exit status that an error stands for."""
    if isinstance(error, ConfigError | RunMismatchError):
        return Status.USAGE
    if isinstance(error, TooManyFailuresError):
        return Status.TOO_MANY_FAILURES
    if isinstance(error, KeyboardInterrupt | RunInterruptedError):
        return Status.INTERRUPTED
    return Status.ERROR


def is_verbose(ctx: click.Context) -> bool:
    """Whether ``-v`` was given, before or after the command's name."""
    return bool(ctx.meta.get(_VERBOSE, False))


def _set_verbose(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not is_verbose(ctx):
        ctx.meta[_VERBOSE] = True  # shared by all contexts of one call
        logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(name)s %(levelname)s: %(message)s")
        logging.getLogger("gammaflow").setLevel(logging.DEBUG)


def verbose_option() -> click.Option:
    """The option ``-v`` that the group and every command have."""
    return click.Option(
        ["-v", "--verbose"],
        is_flag=True,
        expose_value=False,
        callback=_set_verbose,
        help="Show tracebacks and debug messages.",
    )


class QuietCommand(click.Command):
    """A command that also takes ``-v`` after its name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(verbose_option())


class CommandLine(click.Group):
    """The group of all commands: says an error once, in words, and exits with its status."""

    command_class = QuietCommand

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(verbose_option())

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; turn what it raises into a message and a status."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit):
            raise  # click's own way of saying that the usage is wrong, or of leaving
        except (KeyboardInterrupt, click.Abort):
            click.echo("Interrupted.", err=True)
            ctx.exit(Status.INTERRUPTED)
        except Exception as error:
            say_error(error, verbose=is_verbose(ctx))
            ctx.exit(status_of(error))


def say_error(error: Exception, *, verbose: bool) -> None:
    """One message on stderr; the traceback only when asked for."""
    if isinstance(error, TooManyFailuresError) and error.failures:
        text = _all_failures(error, verbose=verbose)
    elif verbose:
        traceback.print_exception(error, file=sys.stderr)
        return
    elif isinstance(error, GammaflowError):
        text = str(error)
    elif isinstance(error, OSError):
        text = f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"
    else:
        text = f"{type(error).__name__}: {error}. This should not happen; -v shows where it did"
    click.echo(f"Error: {text}", err=True)


def _all_failures(error: TooManyFailuresError, *, verbose: bool) -> str:
    """The error with what is to be done about each observation; with their tracebacks, if asked for."""
    from gammaflow.cli.terminal import MOST_LINES, failure_lines
    from gammaflow.dag.receipts import FailureRecord

    records = [record for record in error.failures if isinstance(record, FailureRecord)]
    lines = [error.found.partition("\n")[0], *failure_lines(records), error.hint]
    if len(records) <= MOST_LINES:
        lines.append(
            f"To leave them out: flow: {{exclude: [{', '.join(record.name for record in records)}]}}"
        )
    if verbose:
        lines += [f"\nobservation {record.name}:\n{record.traceback}" for record in records]
    return "\n".join(lines)
