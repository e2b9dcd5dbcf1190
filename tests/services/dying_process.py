"""A process that writes a reply until it is killed: python dying_process.py DATABASE_URL MODEL_URL ANNOTATOR_ID."""

from __future__ import annotations

import asyncio
import sys

from chatfeedback.inference.client import Endpoint
from conversation_builder import People
from services.service_harness import open_room


async def main(database_url: str, model_url: str, annotator_id: str) -> None:
    people = People(annotator_id, annotator_id, annotator_id)
    async with open_room(database_url, people, [Endpoint("zephyr", base_url=model_url)]) as room:
        conversation = await room.send("Tell me a story")
        print(conversation.conversation_id, flush=True)  # noqa: T201
        await room.ended(conversation)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
