"""The line between a supervisor and a child."""

import socket

import pytest

from mainspring.worker.channel import Channel


@pytest.fixture
def pair():
    near, far = (Channel(sock) for sock in socket.socketpair())
    yield near, far
    near.close()
    far.close()


def test_messages_arrive_in_order_however_they_are_cut(pair):
    """Several messages in one read, or one message in several, come out whole."""
    near, far = pair
    near.send(wake=True)
    near.send(stop=8.0)
    near._socket.send(b'{"half": ')

    assert far.receive() == [{"wake": True}, {"stop": 8.0}]
    near._socket.send(b"1}\n")
    assert far.receive() == [{"half": 1}]


def test_the_end_of_the_other_side_closes_the_line(pair):
    """A dead process cannot say so; the kernel does."""
    near, far = pair
    near.close()

    assert far.receive() == []
    assert not far.is_open
    far.send(wake=True)


def test_sending_never_waits(pair):
    """A side that does not read cannot hold up the other."""
    near, far = pair
    for _ in range(100_000):
        near.send(wake=True)

    assert near.is_open
    assert far.is_open


def test_a_long_message_is_never_cut():
    """What did not fit at first follows before the next message, and until then others are dropped."""
    near, far = (Channel(sock, waits=False) for sock in socket.socketpair())
    ids = ["id"] * 200_000
    assert near.send(ended=ids)
    assert not near.send(wake=True)
    while not (received := far.receive()):
        near.send(wake=True)

    assert [*received, *far.receive()] == [{"ended": ids}, {"wake": True}]
    near.close()
    far.close()


def test_what_the_other_side_said_last_is_heard_though_it_has_gone(pair):
    """To send it something in vain is not the end of the line; to have read everything is."""
    near, far = pair
    near.send(over=True)
    near.close()
    assert not far.send(wake=True)

    assert far.is_open
    assert far.receive() == [{"over": True}]


def test_a_line_that_does_not_wait_reads_everything():
    """The last words of a process can be longer than one read."""
    near, far = socket.socketpair()
    near, far = Channel(near, waits=False), Channel(far)
    far.send_all(broken="x", files=["file"] * 15_000)
    far.close()

    [message] = near.receive()
    assert len(message["files"]) == 15_000
    assert not near.is_open
    near.close()


def test_a_line_that_does_not_wait_returns_at_once():
    """What a task has forked may hold the other side open for ever."""
    near, far = socket.socketpair()
    channel = Channel(near, waits=False)

    assert channel.receive() == []
    assert channel.is_open
    channel.close()
    far.close()


def test_half_a_message_spoils_no_other(pair):
    """What the other side's buffer took only a part of is completed before anything else is sent."""
    near, far = pair
    near.send(answer="x" * 1_000_000)
    received = far.receive()
    while not received:
        near.send(wake=True)
        received = far.receive()

    assert received[0] == {"answer": "x" * 1_000_000}
    assert all(message == {"wake": True} for message in received[1:])
