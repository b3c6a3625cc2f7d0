"""The commands, and how they end.

Exit codes: 0 done, 1 refused or failed, 2 used wrongly, 3 no node or no connection, 130 interrupted.
"""

import os
from importlib import import_module
from typing import IO, Any, Final

import click

from callboard.events.errors import CallboardError

SECTIONS: Final[dict[str, dict[str, str]]] = {
    "Run": {
        "up": "Run a node until it is told to stop.",
        "deploy": "Run it on a Ray cluster, and look at what runs there.",
        "run": "Let the agents live here that a Python file defines.",
        "demo": "See it work, with models that run on this machine.",
        "doctor": "Check everything, and say how to mend what is wrong.",
        "tokens": "Make, list and revoke tokens for HTTP.",
        "keys": "Make keys of roles, and certificates and accounts of NATS servers.",
        "backup": "Copy the log and all that belongs to it into a folder, while work goes on.",
        "restore": "Make the log from a backup, where there is none yet.",
        "split": "Keep some shards of a log here, and leave the others to its copies elsewhere.",
        "forget": "Make all that was said of a person unreadable, for good.",
    },
    "Tasks": {
        "submit": "Submit a task and print its answer.",
        "tasks": "List tasks, newest first.",
        "show": "Show one task: its state, history, calls and answer.",
        "why": "Explain why a task went where it went.",
        "cancel": "End a task; a model call under way is stopped.",
        "score": "Say how good an answer is.",
        "dead": "List, show and requeue tasks that were given up.",
        "schedule": "Submit a task again and again, at the times of a cron expression.",
    },
    "Agents": {
        "agents": "List and show agents; try again what they have set aside.",
        "send": "Send an agent a message and print its answer.",
        "approvals": "List what people are asked to approve.",
        "approve": "Say that something may be done.",
        "deny": "Say that something may not be done.",
        "context": "Show, change, fork, compare and merge shared contexts.",
    },
    "Backends": {
        "backends": "List backends with their load, speed and health.",
        "scale": "Say how many replicas a backend should have.",
        "drain": "Give a backend no new work.",
    },
    "Money": {
        "costs": "What was spent, by backend, tag or day.",
        "budget": "Set and show budgets.",
    },
    "Look back": {
        "replay": "Rebuild what was true at any moment, or watch it happen again.",
        "trace": "Show what was done for a task or a message, over time.",
        "export": "Write events or spans to a file, or send spans to a collector.",
        "sql": "Query events, tasks, costs and spans with SQL.",
        "archive": "Archive the log as Parquet files, and purge what is closed.",
        "audit": "Check that the log was not altered, and that all was done by the rules.",
    },
    "Plan": {
        "simulate": "Replay a trace on simulated backends, and compare policies.",
    },
}
"""Every command with its line in the help. The command ``x`` is ``x`` in the module ``callboard.deploy.cli.x``."""

DEBUG_VARIABLE: Final = "CALLBOARD_DEBUG"
INTERRUPTED: Final = 130


class Refused(click.ClickException):
    """A CallboardError on its way out: one line (of a settings file: one for each mistake), no traceback."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it to standard error."""
        for line in self.message.splitlines() or [""]:
            click.echo(f"callboard: {line}", file=file, err=True)


class NoConnection(Refused):
    """There is no node, or no connection to one."""

    exit_code = 3


class Commands(click.Group):
    """Loads a command when it is called, and turns errors into exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the help."""
        return [name for section in SECTIONS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, loaded now."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command = getattr(import_module(f"callboard.deploy.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with a guess for a misspelt name."""
        if args and not args[0].startswith("-") and args[0] not in self.list_commands(ctx):
            from difflib import get_close_matches

            close = get_close_matches(args[0], self.list_commands(ctx), 1)
            ctx.fail(f"no such command {args[0]!r}" + (f"; did you mean {close[0]!r}?" if close else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands by section, without loading any."""
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(list(commands.items()), col_max=12)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; see the exit codes above."""
        try:
            return super().invoke(ctx)
        except CallboardError as error:
            raise _refused(error) from error
        except KeyboardInterrupt:
            raise click.exceptions.Exit(INTERRUPTED) from None
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if os.environ.get(DEBUG_VARIABLE):
                raise
            told = f"{type(error).__name__}: {error}".replace("\n", " ")
            raise Refused(f"unexpected {told}; run it again with {DEBUG_VARIABLE}=1 to see where") from error


def _refused(error: CallboardError) -> Refused:
    from callboard.bus.errors import Unavailable
    from callboard.deploy.connect import NoNode

    return (NoConnection if isinstance(error, NoNode | Unavailable) else Refused)(str(error))


def _print_version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        click.echo(f"callboard {version('callboard')}")
        ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
def callboard() -> None:
    """Callboard: tasks for AI agents on NATS, routed on live evidence, with one log to replay.

    Start a node with `callboard up`, then `callboard submit "Say hello"`. Every command that prints takes --json: money
    is in whole micro-dollars, durations in whole nanoseconds, times in UTC.
    """
