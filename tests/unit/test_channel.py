"""The line between a supervisor and a child."""

import socket

from mainspring.worker.channel import Channel


def make_pair():
    near, far = socket.socketpair()
    return Channel(near), Channel(far)


def test_messages_arrive_in_order_however_they_are_cut():
    """Several messages in one read, or one message in several, come out whole."""
    near, far = make_pair()
    near.send(wake=True)
    near.send(stop=8.0)
    near._socket.send(b'{"half": ')

    assert far.receive() == [{"wake": True}, {"stop": 8.0}]
    near._socket.send(b"1}\n")
    assert far.receive() == [{"half": 1}]


def test_the_end_of_the_other_side_closes_the_line():
    """A dead process cannot say so; the kernel does."""
    near, far = make_pair()
    near.close()

    assert far.receive() == []
    assert not far.is_open
    far.send(wake=True)


def test_sending_never_waits():
    """A side that does not read cannot hold up the other."""
    near, far = make_pair()
    for _ in range(100_000):
        near.send(wake=True)

    assert near.is_open
    assert far.is_open
