"""WebSocket frames for tests, right and wrong ones (RFC 6455 5.2): every bit as it is asked for."""

from __future__ import annotations

import struct

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MASK = bytes([0x37, 0xFA, 0x21, 0x3D])


def masked(payload: bytes, mask: bytes) -> bytes:
    return bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    final: bool = True,
    mask: bytes | None = MASK,
    reserved: int = 0,
    size: int | None = None,
    claimed: int | None = None,
) -> bytes:
    """`size` is how the length is written, in 7, 16 or 64 bits, and `claimed` what it says instead of the truth."""
    length = len(payload) if claimed is None else claimed
    bits = size or (7 if length < 126 else 16 if length < 65536 else 64)
    flag = 0x80 if mask is not None else 0
    head = bytes([final << 7 | reserved << 4 | opcode])
    if bits == 7:
        head += bytes([flag | length])
    elif bits == 16:
        head += bytes([flag | 126]) + struct.pack(">H", length)
    else:
        head += bytes([flag | 127]) + struct.pack(">Q", length)
    return head + (mask + masked(payload, mask) if mask is not None else payload)


def close(code: int | None = None, reason: bytes = b"", *, mask: bytes | None = MASK) -> bytes:
    return frame(CLOSE, b"" if code is None else struct.pack(">H", code) + reason, mask=mask)

OPENING = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: sip\r\n\r\n"
)
"""A client's handshake (RFC 7118 4.1)."""
