"""Questions to workers and their answers: two hashes, of which an hour is kept."""

import json
from collections.abc import Collection, Mapping
from typing import Any

from mainspring.brokers.base import QUESTIONS_KEPT, Question
from mainspring.brokers.redis.client import Client


def ask(client: Client, question: Question, at: int) -> None:
    """Store a question, and delete what was asked too long ago."""
    asked = client.command("HGETALL", client.keys.questions)
    old = [id for id, text in asked.items() if _asked_at(text) < at - QUESTIONS_KEPT]
    if old:
        client.command("HDEL", client.keys.questions, *old)
        client.command("HDEL", client.keys.answers, *old)
    text = json.dumps([at, question.worker_id, question.kind, question.body])
    client.command("HSET", client.keys.questions, question.id, text)


def unanswered(asked: Mapping[bytes, bytes], answered: Collection[bytes]) -> list[Question]:
    """Return the questions without an answer, oldest first."""
    closed = set(answered)
    open_ones = sorted((_asked_at(text), id, text) for id, text in asked.items() if id not in closed)
    return [Question(id.decode(errors="replace"), *_read(text)[1:]) for _, id, text in open_ones]


def _asked_at(text: bytes) -> int:
    return int(_read(text)[0])


def _read(text: bytes) -> tuple[Any, ...]:
    try:
        at, worker_id, kind, body = json.loads(text)
        return int(at), str(worker_id), str(kind), str(body)
    except (ValueError, TypeError, RecursionError):
        return 0, "", "", ""  # to nobody, and deleted with the next question
