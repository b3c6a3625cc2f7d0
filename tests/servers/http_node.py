"""A node that serves HTTP on a free port of this machine, and clients with tokens of any scopes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from msgspec.structs import replace
from servers import nats_binary

from callboard.deploy.http.tokens import TokensFile, now
from callboard.deploy.node import Node
from callboard.deploy.settings import Backend, Http, Settings
from callboard.events.money import Price

LOOPBACK = Http(listen="127.0.0.1:0", drain_ns=1_000_000)
BACKENDS = {
    name: Backend(provider="callable", function=f"servers.callable_backends:{name}", capabilities=("chat", name))
    for name in ("echo", "slow", "broken")
}
BACKENDS["echo"] = replace(BACKENDS["echo"], price=Price(1_000_000, 2_000_000), context=10**7)


@dataclass
class HttpNode:
    """The node, its tokens, and by name the secrets that were made here."""

    node: Node
    settings: Settings
    tokens: TokensFile
    secrets: dict[str, str] = field(default_factory=dict)

    def token(self, *scopes: str) -> str:
        """The secret of a token with these scopes."""
        name = "-".join(scopes)
        if name not in self.secrets:
            self.secrets[name], _ = self.tokens.create(name, scopes, None, now())
        return self.secrets[name]

    def client(self, *scopes: str, url: str = "", **options) -> httpx.AsyncClient:
        """A client that sends such a token; none without scopes. (To load certificates would take it a while.)"""
        headers = {"authorization": f"Bearer {self.token(*scopes)}"} if scopes else {}
        address = url or self.node.http_url
        return httpx.AsyncClient(base_url=address, headers=headers, timeout=20, verify=False, **options)


@asynccontextmanager
async def http_node(folder: Path, http: Http = LOOPBACK, **settings) -> AsyncIterator[HttpNode]:
    """Up while the context is open."""
    await nats_binary.needed()
    given = Settings(data=str(folder / ".callboard"), http=http, **{"backends": BACKENDS} | settings)
    async with Node(given) as node:
        yield HttpNode(node, given, TokensFile(given.http_tokens))
