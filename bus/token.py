"""Any text as one token of a subject."""

import re

_UNSAFE = re.compile(rb"[^A-Za-z0-9_-]")


def token(text: str) -> str:
    """``text`` with all but ``A-Z a-z 0-9 _ -`` as ``=`` and two hex digits; different texts stay different."""
    return _UNSAFE.sub(lambda found: b"=%02X" % found[0][0], text.encode()).decode() or "="
