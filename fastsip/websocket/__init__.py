"""The opening handshake of SIP over WebSocket (RFC 6455 4, RFC 7118 4), without I/O: bytes in, bytes out.

`Opening` is the server's side of one connection, `Ask` the client's. What follows the handshake is frames, which
are the compiled transport's (`fastsip/_websocket.pxd`): both give back what they were fed too much.
"""

from fastsip.websocket.answer import SUBPROTOCOL, Answer
from fastsip.websocket.ask import Ask
from fastsip.websocket.opening import Opening, Rules

__all__ = ["SUBPROTOCOL", "Answer", "Ask", "Opening", "Rules"]
