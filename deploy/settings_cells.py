"""How ``[[cells]]`` are read: several logs, which hold all shards together, and each of them once."""

from collections.abc import Iterator, Mapping, Sequence

from callboard.deploy.settings import Cell
from callboard.deploy.settings_values import Reader, nats_url, path, text
from callboard.deploy.units import shown
from callboard.events.errors import InvalidInput
from callboard.events.shards import ALL, Shards


def shards(value: object, what: str) -> str:
    """Which shards a log holds."""
    if not isinstance(value, str):
        raise InvalidInput(f'{what} must be like "0-31" or "0-15,40", got {shown(value)}')
    try:
        return str(Shards.parse(value))
    except InvalidInput as error:
        raise InvalidInput(f"{what}: {error}") from None


CELL: Mapping[str, Reader] = {"shards": shards, "url": nats_url, "data": text, "credentials": path, "ca": path}


def mistakes(cells: Sequence[Cell]) -> Iterator[str]:
    """What is wrong with them as a whole."""
    told = [shard for cell in cells for shard in cell.held]
    if doubled := Shards(shard for shard in told if told.count(shard) > 1):
        yield f"[[cells]] shards {doubled} are in several cells: each must be in one"
    if missing := Shards({*ALL} - {*told}):
        yield f"[[cells]] shards {missing} are in no cell: each of 0 to 63 must be in one"
