"""What somebody asks of a worker, and its answer: rows that the worker finds with its beat."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from django.db.backends.base.base import BaseDatabaseWrapper as Connection

from mainspring.brokers.base import QUESTIONS_KEPT, Question
from mainspring.brokers.database.tables import QUESTION, QUESTION_COLUMNS

if TYPE_CHECKING:
    from mainspring.brokers.database.store import Store


def ask(connection: Connection, store: "Store", question: Question, at: int) -> None:
    store.refuse_oversized(connection, [question.body])
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {QUESTION} WHERE asked_at < %s", [at - QUESTIONS_KEPT])
        cursor.execute(
            f"INSERT INTO {QUESTION} (id, worker_id, kind, body, asked_at) VALUES (%s, %s, %s, %s, %s)",
            [question.id, question.worker_id, question.kind, question.body, at],
        )


def unanswered(connection: Connection, store: "Store", worker_ids: Collection[str]) -> list[Question]:
    """Return the questions to these workers that nobody has answered, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {', '.join(QUESTION_COLUMNS)} FROM {QUESTION}"
            f" WHERE worker_id {store.is_in} AND answer IS NULL ORDER BY asked_at, id",
            [store.listed(worker_ids)],
        )
        return [Question(*row) for row in cursor.fetchall()]


def answer(connection: Connection, store: "Store", id: str, text: str) -> None:
    store.refuse_oversized(connection, [text])
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {QUESTION} SET answer = %s WHERE id = %s", [text, id])


def answer_to(connection: Connection, id: str) -> str | None:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT answer FROM {QUESTION} WHERE id = %s", [id])
        found = cursor.fetchone()
        return found[0] if found else None
