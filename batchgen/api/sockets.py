"""Makes sockets with TCP keep-alive."""

from __future__ import annotations

import socket

from aiohappyeyeballs import AddrInfoType

IDLE, INTERVAL, PROBES = 30, 15, 4
"""Seconds of silence until the kernel probes the peer, seconds between probes, and their number. Middleboxes forget
silent connections without a word, as while a long answer is generated."""


def keepalive_socket(address: AddrInfoType) -> socket.socket:
    """Returns a socket for the address."""
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", IDLE), ("TCP_KEEPINTVL", INTERVAL), ("TCP_KEEPCNT", PROBES)):
        if hasattr(socket, name):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return made
