"""The keys of persons in memory."""


class MemoryKeys:
    """Keys by name; see `Keys`."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}

    async def add(self, name: str, data: bytes) -> bool:
        """Keep ``data`` under a name that there is not yet; whether it is kept."""
        return self._kept.setdefault(name, data) == data

    async def get(self, name: str) -> bytes | None:
        """What is kept under a name now, None if nothing is."""
        return self._kept.get(name)

    async def erase(self, name: str, data: bytes) -> bool:
        """Take ``data`` away; False if it is not what is kept under the name."""
        if self._kept.get(name) != data:
            return False
        del self._kept[name]
        return True

    async def names(self) -> list[str]:
        """All names that something is kept under, in order."""
        return sorted(self._kept)
