"""Ids are UUIDv7 (RFC 9562), tokens are random 63-bit numbers."""

import time
import uuid

import pytest

from mainspring.job import new_id, new_token


def at(monkeypatch, milliseconds):
    """Return an id that is made at this time."""
    monkeypatch.setattr(time, "time_ns", lambda: milliseconds * 1_000_000 + 999_999)
    return new_id()


def test_layout():
    """Version 7, the variant of the RFC, in the usual 36 lower-case characters."""
    for _ in range(200):
        id = new_id()
        assert (uuid.UUID(id).version, uuid.UUID(id).variant) == (7, uuid.RFC_4122)
        assert id == str(uuid.UUID(id))


@pytest.mark.parametrize("milliseconds", [0, 1, 0x017F22E279B0, (1 << 48) - 1])
def test_time(monkeypatch, milliseconds):
    """The first 48 bits are the milliseconds since the epoch."""
    assert uuid.UUID(at(monkeypatch, milliseconds)).int >> 80 == milliseconds


def test_order(monkeypatch):
    """Ids made in different milliseconds sort by time, as text too."""
    ids = [at(monkeypatch, milliseconds) for milliseconds in (1, 2, 255, 256, 1 << 40, (1 << 40) + 1)]

    assert ids == sorted(ids)


def test_every_other_bit_is_random(monkeypatch):
    """Within one millisecond 74 bits are random: each is sometimes 0 and sometimes 1."""
    values = [uuid.UUID(at(monkeypatch, 5)).int for _ in range(200)]
    ever, always = 0, ~0
    for value in values:
        ever, always = ever | value, always & value

    varying = ever & ~always
    assert varying == ((1 << 80) - 1) & ~(0xF << 76) & ~(0x3 << 62)


def test_no_two_are_the_same():
    """Ten thousand ids made in a row differ."""
    assert len({new_id() for _ in range(10_000)}) == 10_000


def test_tokens():
    """Tokens fit a signed 64-bit column, are never 0, and differ."""
    tokens = {new_token() for _ in range(10_000)}

    assert len(tokens) == 10_000
    assert min(tokens) > 0
    assert (1 << 60) < max(tokens) < (1 << 63)


def test_token_is_never_zero(monkeypatch):
    """A token can be told from "no token" by its truth."""
    monkeypatch.setattr("secrets.randbits", lambda _: 0)

    assert new_token() == 1
