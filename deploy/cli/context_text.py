"""How `callboard context` prints what is in a context."""

from collections.abc import Sequence
from typing import Any

import click
import msgspec

from callboard.deploy.cli.printing import one_line, print_table
from callboard.events.context import Compacted, Context, Merged, Put, Say
from callboard.events.context_content import Content, Difference
from callboard.events.private import forgotten_note, is_forgotten
from callboard.events.task_spec import Blob, Text


def document(state: Context, content: Content, texts: Sequence[str]) -> dict[str, Any]:
    """What ``--json`` prints; ``texts`` are those of all messages, if they were fetched."""
    return {
        "context": content.id,
        "version": content.version,
        "parent": state.parent or None,
        "at": state.at or None,
        "tokens": content.tokens,
        "messages": [
            {
                "number": number,
                "role": said.role,
                "content": texts[number] if texts else said.content if isinstance(said.content, str) else None,
                "tool_calls": said.tool_calls,
                "tool_call_id": said.tool_call_id,
                "origin": content.origins[number],
            }
            for number, said in enumerate(content.messages)
        ],
        "summaries": [
            {name: getattr(each, name) for name in ("first", "last", "summary", "tokens", "by")}
            for each in content.compactions
        ],
        "facts": {key: fact.value for key, fact in content.facts.items() if fact.artifact is None},
        "artifacts": {key: fact.artifact for key, fact in content.facts.items() if fact.artifact is not None},
    }


def print_content(state: Context, content: Content, texts: Sequence[str]) -> None:
    """What was said, and what is known."""
    forked = f", forked from {state.parent}@{state.at}" if state.parent else ""
    count = len(content.messages)
    messages = f"{count} message" if count == 1 else f"{count} messages"
    click.echo(f"context {content.id} at version {content.version}{forked}: {messages}, about {content.tokens} tokens")
    shown = content.messages if texts else tuple(content.shown())
    if shown:
        click.echo()
        number = 0
        for each in shown:
            if isinstance(each, Compacted):
                where, told = f"{each.first}-{each.last}", f"{_text(each.summary)} (summary of {each.tokens} tokens)"
                click.echo(f"{where:>7} {'':9} {one_line(told, 300)}")
                number = each.last + 1
            else:
                told = texts[number] if texts else _text(each.content)
                click.echo(f"{number:>7} {each.role:9} {one_line(told, 300)}{_calls(each)}")
                number += 1
    if content.facts:
        click.echo()
        rows = ((key, _known(fact.put(key)), str(fact.version)) for key, fact in content.facts.items())
        print_table(("known", "", "since"), rows, right=("since",))


def print_difference(found: Difference) -> None:
    """A line each, with ``+``, ``~`` or ``-`` in front."""
    for said in found.said:
        click.echo(f"+ {said.role}: {one_line(_text(said.content), 300)}{_calls(said)}")
    for put in found.put:
        click.echo(f"~ {put.key} = {_known(put)}")
    for key in found.dropped:
        click.echo(f"- {key}")
    if not any(found):
        click.echo("no difference")


def print_merged(into: str, source: str, merged: Merged | None) -> None:
    """What was taken over, and whose value was kept."""
    if merged is None:
        click.echo(f"context {into} has all that {source} has")
        return
    said = sum(isinstance(each, Say) for each in merged.operations)
    changed = [each.key for each in merged.operations if not isinstance(each, Say)]
    what = [f"{said} said"] if said else []
    what += [f"{', '.join(changed)} changed"] if changed else []
    click.echo(f"context {into} has taken over {source}@{merged.at}: {'; '.join(what) or 'nothing'}")
    for each in merged.disagreements:
        click.echo(f"  {each.key}: ours {_known(each.ours)}, theirs {_known(each.theirs)}; {merged.prefer} is kept")


def _known(put: Put | None) -> str:
    if put is None:
        return "not known"
    if is_forgotten(put.artifact):
        return forgotten_note(put.artifact.private)
    if put.artifact is not None:
        return f"{put.artifact.media}, {put.artifact.size:,} bytes, {put.artifact.sha256[:12]}"
    return one_line(msgspec.json.encode(put.value).decode(), 200)


def _text(text: Text) -> str:
    if is_forgotten(text):
        return forgotten_note(text.private)
    return f"[{text.size:,} bytes in the blob store]" if isinstance(text, Blob) else text


def _calls(said: Say) -> str:
    calls = ", ".join(f"{call.name}({call.arguments})" for call in said.tool_calls)
    answers = f" (answers {said.tool_call_id})" if said.tool_call_id else ""
    return (f" → {one_line(calls, 200)}" if calls else "") + answers
