# WebSocket frames (RFC 6455 5, RFC 7118); see ext/websocket.h. Header only.
#
# A connection's owner keeps what it received in one buffer of FRAME_MOST bytes and a FrameReader:
#
#     while True:
#         found = frame_next(&reader, buffer + start, end - start, &used, &span)
#         start += used
#         if found == FRAME_WAIT: break                 # span.length bytes from `start` on are needed at least
#         if found == FRAME_MESSAGE: ...                # span.data, span.length: valid until the next frame_next
#         elif found == FRAME_PINGED: ...               # write frame_head(FRAME_PONG, span.length) and the span
#         elif found == FRAME_CLOSED or found == FRAME_FAILED: ...    # write frame_close(span.code), then end it
#
# FRAME_PONGED is for whoever sent a ping. After FRAME_CLOSED and FRAME_FAILED nothing more is found. The opening
# handshake, which comes before, is Python's: fastsip.websocket.
from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef extern from "websocket.h" nogil:
    enum: FRAME_MESSAGE_MAX, FRAME_CONTROL_MAX, FRAME_HEAD_MAX, FRAME_MOST
    enum: FRAME_CONTINUATION, FRAME_TEXT, FRAME_BINARY, FRAME_CLOSE, FRAME_PING, FRAME_PONG
    enum: FRAME_MORE, FRAME_OK, FRAME_PROTOCOL_ERROR, FRAME_TOO_BIG
    enum: FRAME_WAIT, FRAME_MESSAGE, FRAME_PINGED, FRAME_PONGED, FRAME_CLOSED, FRAME_FAILED

    ctypedef struct Frame:
        uint32_t head
        uint32_t length
        uint32_t mask
        uint8_t opcode
        uint8_t final

    ctypedef struct FrameSpan:
        const uint8_t* data
        uint32_t length
        uint16_t code            # of FRAME_CLOSED, 0 if it has none, and of FRAME_FAILED
        uint8_t opcode           # of FRAME_MESSAGE: text or binary

    ctypedef struct FrameReader: # zeroed to begin, but for `masked`: 1 at the server, 0 at the client
        uint8_t masked
        uint8_t ended
        uint8_t opcode               # of the message that is not complete, 0 if there is none
        uint32_t capacity            # bytes kept for one

    int frame_parse(const uint8_t* data, uint32_t length, int masked, Frame* out) noexcept
    int frame_next(FrameReader* r, uint8_t* data, uint32_t length, uint32_t* used, FrameSpan* out) noexcept
    void frame_reader_free(FrameReader* r) noexcept
    # `mask` is four bytes nobody can foresee (RFC 6455 5.3) at the client, NULL at the server.
    uint32_t frame_head(uint8_t* out, int opcode, uint32_t length, const uint8_t* mask) noexcept
    uint32_t frame_close(uint8_t* out, uint16_t code, const uint8_t* mask) noexcept
    # Mask or unmask in place, `mask` as it lies in memory; whether some byte of the result is not ASCII.
    bint frame_mask(uint8_t* data, uint32_t length, uint32_t mask) noexcept
    bint utf8_valid(const uint8_t* at, uint32_t length) noexcept
