"""A SIP server inside an asyncio program: python -m fastsip.examples.embedded_proxy

It serves on a port of the kernel's choice and, for something to see, registers Bob with it and asks who is there.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys

import fastsip

CONFIGURATION = {  # the tables of fastsip.toml
    "server": {"listen": ["udp:127.0.0.1:0"], "domains": ["example.com"], "drain_timeout": 1},
    "registrar": {"max_contacts": 2},
}


def register(server: tuple[str, int]) -> int | None:
    """What any phone does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.bind(("127.0.0.1", 0))
        phone.settimeout(2)
        host, port = phone.getsockname()
        request = (
            f"REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP {host}:{port};branch=z9hG4bKexample;rport\r\n"
            "From: <sip:bob@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\nCall-ID: example\r\nCSeq: 1 REGISTER\r\n"
            f"Contact: <sip:bob@{host}:{port}>;expires=600\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        )
        phone.sendto(request.encode(), server)
        return fastsip.parse(phone.recv(65_536)).status


async def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")  # fastsip logs as the program does
    async with fastsip.Proxy(CONFIGURATION) as proxy:
        print("REGISTER:", await asyncio.to_thread(register, proxy.addresses[0]))
        for contact in proxy.contacts("bob@example.com"):
            print(contact["aor"], "is at", contact["uri"], "for", contact["expires_in"], "s")
        print("requests so far:", proxy.stats()["total"]["requests_in"])
    return 0


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except fastsip.CannotStart as problem:
        sys.exit(f"cannot start: {problem}")
