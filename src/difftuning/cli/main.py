"""The entry point: runs a command and turns what goes wrong into one line and an exit code.

Exit codes: 0 done; 1 an unexpected error or a failed check; 2 an error of the user's making; 130 interrupted;
143 asked to stop by SIGTERM: all is saved, and the same command goes on.

Of several processes that a launcher has started, one speaks; verbs that they cannot share are done by the main one alone.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence

import typer
from pydantic import ValidationError

from difftuning.cli.commands import app
from difftuning.errors import DifftuningError, Preempted
from difftuning.processes import launched, leave, part, present, speaks

INTERRUPTED, PREEMPTED = 130, 143
SHARED = (["train"], ["sample"], ["evaluate"], ["bank", "build"], ["bank", "extend"])
"""What several processes do together."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: what stands behind `difftuning`; None for those of this process.

    Returns:
        The exit code.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given  # taken out here, so that it may stand anywhere on the line
    words = [word for word in given if word != "--debug"]
    return guarded(lambda: _command(words or ["--help"]), debug)


def _command(words: list[str]) -> object:
    if launched():
        shared = any(words[: len(verb)] == verb for verb in SHARED) and "--dry-run" not in words
        if not shared and leave():
            return 0
        present()  # from here on an error is said once
    code = app(args=words, prog_name="difftuning", standalone_mode=False)
    part()
    return code


def guarded(command: Callable[[], object], debug: bool) -> int:
    """Run a command; whatever it raises becomes one line on stderr and an exit code.

    Args:
        command: it returns an exit code, or something else when all went well.
        debug: show the traceback too.
    """
    try:
        code = command()
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Preempted as error:
        _say(str(error))
        return PREEMPTED
    except DifftuningError as error:
        return _fail(str(error), 2, debug)
    except Exception as error:
        if isinstance(error, _UsageError):
            return _fail(_usage(error), 2, debug)
        if (torch := sys.modules.get("torch")) is not None and isinstance(error, torch.OutOfMemoryError):
            from difftuning.workflows.device_memory import LAST, ran_out

            return _fail(f"{ran_out(error)}; {LAST}", 2, debug)
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return _fail(f"unexpected {reason} (run again with --debug to see where)", 1, debug)
    if code == INTERRUPTED:
        _say("interrupted; run the same command again and it goes on from what is finished")
    return code if isinstance(code, int) else 0


_UsageError = typer.BadParameter.__mro__[1]
"""The parent of typer's errors about the command line, which typer itself does not export."""


def _usage(error: Exception) -> str:
    message = str(error.format_message()).rstrip(".") if hasattr(error, "format_message") else str(error)
    if isinstance(error.__cause__, ValidationError):  # typer's message leaves out what was given
        message += f", not {error.__cause__.errors()[0]['input']!r}"
    context = getattr(error, "ctx", None)
    return f"{message}; see `{context.command_path} --help`" if context is not None else message


def _fail(message: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc(file=sys.stderr)
    _say(f"error: {message}")
    return code


def _say(message: str) -> None:
    if speaks():
        print(" ".join(message.split()), file=sys.stderr, flush=True)
