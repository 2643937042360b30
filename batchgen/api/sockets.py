"""Sockets whose peers are asked now and then whether they are there still."""

from __future__ import annotations

import socket

from aiohappyeyeballs import AddrInfoType

IDLE, AGAIN, PROBES = 30, 15, 4
"""Seconds until the kernel asks an idle peer whether it is there, and how it asks on: middleboxes forget a connection
that is silent, as while a long answer is made, and tell nobody."""


def keepalive_socket(address: AddrInfoType) -> socket.socket:
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", IDLE), ("TCP_KEEPINTVL", AGAIN), ("TCP_KEEPCNT", PROBES)):
        if hasattr(socket, name):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return made
