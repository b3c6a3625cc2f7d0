"""How one comes in to NATS: what we show the server, what we want of it, and why it did not work, in one line."""

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from callboard.bus.addresses import parts, shown
from callboard.bus.credentials import Credentials, inbox
from callboard.bus.nkeys import sign
from callboard.bus.subjects import OURS
from callboard.events.errors import InvalidInput


class Door(NamedTuple):
    """The ``credentials`` that we show, if any, and the file of certificate authorities that servers are believed by.

    Without a file ``ca``, those that the operating system believes count.
    """

    credentials: Credentials | None = None
    ca: Path | None = None

    @property
    def inbox(self) -> str:
        """Below which subject answers come to us.

        An operator's own lies where nobody who answers others may publish: it is told there what the log has stored.
        """
        if self.credentials is None:
            return "_INBOX"
        own = inbox(self.credentials.public)
        return own.replace(".", "_") if self.credentials.role == "operator" else own

    def sign(self, said: bytes) -> bytes:
        """The proof that we have the key."""
        assert self.credentials
        return sign(self.credentials.seed, said)

    def tls(self, url: str) -> ssl.SSLContext | None:
        """How a server that speaks TLS is examined; None if none is expected to, which saves some time.

        Raises InvalidInput: the file ``ca`` can't be used.
        """
        if not self.ca and "tls://" not in url:
            return None
        try:
            return ssl.create_default_context(cafile=self.ca)
        except ssl.SSLError:
            raise InvalidInput(f"{self.ca}: no certificate authority in PEM here") from None
        except OSError as error:
            raise InvalidInput(f"{self.ca}: the certificate authorities can't be read: {error.strerror}") from None

    def refusal(self, url: str, error: BaseException) -> str:
        """Why there is no connection."""
        said, where = reason(error), shown(url)
        if isinstance(error, ssl.SSLCertVerificationError):
            how = f"is it in {self.ca}?" if self.ca else "name its authority by ca under [nats]"
            return f"NATS at {where} shows a certificate that is not believed ({error.verify_message}): {how}"
        if isinstance(error, ssl.SSLError):
            return f"NATS at {where} can't be spoken to by TLS: {said}"
        if "authorization violation" in said.lower():
            if self.credentials:
                return f"NATS at {where} refuses the key of {self.credentials.holder}: {said}"
            return f"NATS at {where} wants to know who comes: set credentials under [nats]"
        return f"NATS at {where} refuses the connection: {said}"

    def denial(self, url: str, subject: str) -> str:
        """That the server lets us not use a subject."""
        holder = self.credentials.holder if self.credentials else "this connection"
        return f"NATS at {shown(url)} does not let {holder} use the subject {subject.removeprefix(OURS)}"


OPEN: Final = Door()
"""Nothing is shown, beside what is in the URL."""


async def reach(server: str, deadline: float) -> None:
    """Return when a server accepts a connection: nats-py would wait for seconds between its tries.

    A server of TLS is not tried so, since it would complain of who comes and goes. Raises OSError or TimeoutError.
    """
    address = parts(server)
    if address.scheme == "tls":
        return
    async with asyncio.timeout_at(max(deadline, asyncio.get_running_loop().time() + 0.1)):
        _, writer = await asyncio.open_connection(address.hostname, address.port or 4222)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


def reason(error: BaseException) -> str:
    """What an error says, in one line."""
    return (str(error) or type(error).__name__).removeprefix("nats: ").replace("\n", " ")
