"""Queues that are made for those who may not make any: what one may make, one may also change or aim elsewhere."""

from callboard.actors.agents import postman
from callboard.actors.router import router
from callboard.bus.jetstream import JetStreamBus
from callboard.events.shards import ALL
from callboard.events.task_subjects import ROUTED


async def make_queues(bus: JetStreamBus) -> None:
    """Make the queues of roles other than the operator's, as these will want them; those that are there stay."""
    queues = [
        (router.QUEUE, ROUTED, router.ACK_WAIT_S),
        (postman.QUEUE, postman.ALL_MAIL, postman.ACK_WAIT_S),
    ]
    if bus.shards != ALL:
        queues.append((postman.QUEUE_ABROAD, postman.ALL_MAIL, postman.ACK_WAIT_S))
    for name, subject, ack_wait_s in queues:
        queue = await bus.queue(name, subject, ack_wait_s=ack_wait_s)
        await queue.aclose()
