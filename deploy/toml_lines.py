"""Where each table and key of a TOML text stands, which ``tomllib`` doesn't tell.

The text must be one that ``tomllib`` has accepted. So the scanner only has to know where keys, values and comments
begin and end, never whether they are right.
"""

import re
import tomllib
from bisect import bisect_right

KeyPath = tuple[str, ...]

_BLANK = re.compile(r"(?:[\s,]|#[^\n]*)*")
_KEY_PART = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*'""")
_DOT = re.compile(r"[ \t]*\.[ \t]*")
_STRING = re.compile(
    r'''
    """ (?:[^\\]|\\.)*? """ "{0,2}     # up to two quotes may stand before the closing three
  | \'\'\' .*? \'\'\' '{0,2}
  | " (?:[^"\\]|\\.)* "
  | ' [^']* '
    ''',
    re.DOTALL | re.VERBOSE,
)
_BARE = re.compile(r"[^,\]}#\n]+")


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line, counted from 1, of each key and table: its own header or key, else where it is first implied.

    Keys inside arrays are not told apart: an array stands where its key does.
    """
    return _Scanner(text).document()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._newlines = [match.start() for match in re.finditer("\n", text)]
        self._at = 0
        self._lines: dict[KeyPath, int] = {}

    def document(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        while self._skip_blank() < len(self._text):
            if self._text[self._at] == "[":
                brackets = 2 if self._text.startswith("[[", self._at) else 1
                start = self._at
                self._at += brackets
                table = self._key()
                self._note(table, start)
                self._at += brackets
            else:
                self._pair(table)
        return self._lines

    def _skip_blank(self) -> int:
        """Go past blanks, newlines, comments and commas."""
        return self._past(_BLANK)

    def _past(self, pattern: re.Pattern[str]) -> int:
        if match := pattern.match(self._text, self._at):
            self._at = match.end()
        return self._at

    def _note(self, path: KeyPath, start: int) -> None:
        line = bisect_right(self._newlines, start) + 1
        for length in range(1, len(path)):
            self._lines.setdefault(path[:length], line)
        self._lines[path] = line

    def _key(self) -> KeyPath:
        """Read a key with its dots and quotes, and the blanks around it."""
        self._skip_blank()
        parts: list[str] = []
        dot = self._at
        while not parts or self._past(_DOT) > dot:
            start = self._at
            part = self._text[start : self._past(_KEY_PART)]
            parts.append(tomllib.loads(f"key = {part}")["key"] if part[0] in "\"'" else part)
            dot = self._at
        self._skip_blank()
        return tuple(parts)

    def _pair(self, table: KeyPath) -> None:
        start = self._at
        path = table + self._key()
        self._note(path, start)
        self._at += len("=")
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        self._skip_blank()
        opening = self._text[self._at]
        if opening in "[{":
            self._at += 1
            while self._text[self._skip_blank()] not in "]}":
                if opening == "{":
                    self._pair(path)
                else:
                    self._value(path)
            self._at += 1
        else:
            start = self._at
            if self._past(_STRING) == start:
                self._past(_BARE)
