"""What runs on Ray, as Serve tells it."""

from msgspec import Struct

RUNNING = "RUNNING"
HEALTHY = "HEALTHY"


class Running(Struct, frozen=True):
    """A replica that there is, in the ``state`` that Serve says; ``pid`` and ``node`` are None until it is placed."""

    replica: str
    state: str
    pid: int | None = None
    node: str | None = None


class Deployed(Struct, frozen=True):
    """A deployment that there is: its ``status``, how many replicas it is to have, and those it has."""

    deployment: str
    status: str
    wanted: int
    replicas: tuple[Running, ...] = ()
    message: str = ""

    @property
    def is_up(self) -> bool:
        """Whether it is well, and has what it is to have."""
        return self.status == HEALTHY and len(self.replicas) == self.wanted == self.running

    @property
    def running(self) -> int:
        """How many replicas run."""
        return sum(replica.state == RUNNING for replica in self.replicas)


class App(Struct, frozen=True):
    """The application as Serve has it."""

    name: str
    status: str
    message: str = ""
    deployments: tuple[Deployed, ...] = ()

    def is_up(self, names: set[str]) -> bool:
        """Whether it has these deployments and no others, and all of them are up."""
        found = {each.deployment for each in self.deployments}
        return self.status == RUNNING and found == names and all(each.is_up for each in self.deployments)

    @property
    def reason(self) -> str:
        """One line that says what is wrong: what a replica that failed has told, else who is waited for."""
        for each in self.deployments:
            if each.message and each.status != HEALTHY:
                return f"{each.deployment}: {last_line(each.message)}"
        waiting = [each.deployment for each in self.deployments if not each.is_up]
        return f"waiting for {', '.join(waiting)}" if waiting else last_line(self.message) or self.status


def last_line(told: str) -> str:
    """What matters of a message of Serve's: it may be a whole traceback, in which what was raised comes last."""
    lines = [line.strip() for line in told.splitlines() if line.strip() and not line.startswith(" ")]
    return lines[-1] if lines else ""
