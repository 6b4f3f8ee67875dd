"""Read a SIP message: python -m fastsip.examples.parse [FILE]"""

from __future__ import annotations

import sys
from pathlib import Path

import fastsip

INVITE = b"""\
INVITE sip:bob@biloxi.example.com;transport=udp SIP/2.0\r
Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bKnashds8;rport\r
Max-Forwards: 70\r
f: "Alice" <sip:alice@atlanta.example.com>;tag=9fxced76sl\r
To: <sip:bob@biloxi.example.com>\r
Call-ID: 3848276298220188511@atlanta.example.com\r
CSeq: 1 INVITE\r
Contact: <sip:alice@192.0.2.7>;expires=60;q=0.7\r
Content-Length: 3\r
\r
v=0"""


def show(data: bytes) -> None:
    message = fastsip.parse(data)  # header lines are found, nothing else is looked at yet
    uri = message.uri
    if uri is not None:
        print(f"{message.method} to {uri.user} at {uri.host}, parameters {dict(uri.parameters)}")
    else:
        print(f"{message.status} {message.reason} to {message.method}")
    print(f"from {message.from_.display_name or message.from_.uri}, tag {message.from_tag}")
    print(f"came from {message.via.host}:{message.via.port or 5060} over {message.via.transport}")
    for contact in message.contacts:
        print(f"contact {contact.uri}, expires {contact.expires}, q {contact.q}")
    for name, value in message.headers:
        print(f"  {name}: {value}")
    print(f"  and {len(message.body)} bytes, which are still those of the buffer")


def main(arguments: list[str]) -> int:
    try:
        show(Path(arguments[0]).read_bytes() if arguments else INVITE)
        fastsip.parse(INVITE.replace(b"CSeq: 1 INVITE", b"CSeq: one INVITE"))
    except fastsip.ParseError as error:
        print(f"refused with {error.status}: {error.reason}, header {error.header!r}, offset {error.offset}")
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
