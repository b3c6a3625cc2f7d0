"""Ties a child process to this one: it ends when this one does, however that happens."""

import os
from contextlib import suppress
from typing import Final

_GUARD: Final = """
exec 3<&0 4>&1 >&2
(
  exec 4>&-
  read -r _ <&3 && exit
  kill -TERM $$
  for _ in 1 2 3 4 5 6 7 8 9 10; do sleep 0.5; kill -0 $$ || exit; done
  kill -KILL $$
) >/dev/null 2>&1 &
exec "$@" 3<&- </dev/null
"""
"""Becomes the program, and leaves a guard behind that ends it when our end of the pipe closes without a word.

The program keeps what was its standard output as file 4, and writes to standard error alone; the guard keeps neither.
Unlike PR_SET_PDEATHSIG this also works on macOS, and holds for the process and not for the thread that forked.
"""


class Leash:
    """Our end of the pipe is held from the start on; ``their_end`` is to be the child's standard input."""

    def __init__(self) -> None:
        self.their_end, self._ours = os.pipe()

    def command(self, name: str, *command: str) -> tuple[str, ...]:
        """How to start ``command`` on this leash, under a name for the list of processes."""
        return ("/bin/sh", "-c", _GUARD, name, *command)

    def handed_over(self) -> None:
        """The child has been started, or could not be."""
        os.close(self.their_end)

    def release(self) -> None:
        """The child has ended: at once, since its process id may soon be another's."""
        if self._ours >= 0:
            with suppress(BrokenPipeError):
                os.write(self._ours, b"\n")
            os.close(self._ours)
            self._ours = -1
