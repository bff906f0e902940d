"""Which addresses can be reached from this machine only."""

from __future__ import annotations

import ipaddress

LOOPBACK = {"localhost", "127.0.0.1", "::1"}  # names that a request from here has for this machine


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
