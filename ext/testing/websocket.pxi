# WebSocket frames: a stream as a connection has it, and what reading and writing them costs.
from libc.stdint cimport uint16_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from fastsip._websocket cimport (
    FRAME_CLOSED, FRAME_FAILED, FRAME_HEAD_MAX, FRAME_MESSAGE, FRAME_MORE, FRAME_MOST, FRAME_OK, FRAME_PINGED,
    FRAME_PONGED, FRAME_WAIT, Frame, FrameReader, FrameSpan, frame_close, frame_head, frame_mask, frame_next,
    frame_parse, frame_reader_free, utf8_valid)

SIZEOF_FRAME_READER = sizeof(FrameReader)
FRAMES_FOUND = {FRAME_MESSAGE: "message", FRAME_PINGED: "ping", FRAME_PONGED: "pong", FRAME_CLOSED: "close",
                FRAME_FAILED: "failed"}


cdef class ManualFrames:
    cdef FrameReader reader
    cdef readonly bytes rest
    cdef readonly uint32_t needed

    def __cinit__(self, bint server=True):
        self.reader.masked = server
        self.rest = b""
        self.needed = 2

    def __dealloc__(self):
        frame_reader_free(&self.reader)

    @property
    def ended(self):
        return bool(self.reader.ended)

    def feed(self, bytes data):
        # In memory of exactly this size, so that a sanitizer sees a step outside.
        cdef bytes stream = self.rest + data
        cdef uint32_t length = <uint32_t>len(stream), start = 0, used
        cdef uint8_t* memory = <uint8_t*>malloc(length or 1)
        cdef FrameSpan span
        cdef int found
        cdef list events = []
        memcpy(memory, <const char*>stream, length)
        try:
            while True:
                found = frame_next(&self.reader, memory + start, length - start, &used, &span)
                start += used
                if found == FRAME_WAIT:
                    break
                events.append((FRAMES_FOUND[found], (<const char*>span.data)[:span.length] if span.data != NULL else b"",
                               span.opcode if found == FRAME_MESSAGE else span.code,
                               span.data >= memory and span.data <= memory + length))
            self.needed = span.length
            self.rest = (<const char*>memory)[start:length]
        finally:
            free(memory)
        return events


def frame_parsed(bytes data, bint masked):
    cdef Frame frame
    cdef int result = frame_parse(data, <uint32_t>len(data), masked, &frame)
    if result == FRAME_OK:
        return frame.opcode, bool(frame.final), frame.head, frame.length
    return result if result != FRAME_MORE else -<int>(frame.head + frame.length)


def frame_written(int opcode, bytes payload, mask=None):
    cdef uint8_t head[FRAME_HEAD_MAX]
    cdef uint32_t number
    cdef uint32_t size = frame_head(head, opcode, <uint32_t>len(payload), mask_bytes(mask))
    cdef bytearray body = bytearray(payload)
    if mask is not None:
        memcpy(&number, mask_bytes(mask), 4)
        frame_mask(body, <uint32_t>len(body), number)
    return (<const char*>head)[:size] + bytes(body)


def frame_close_written(uint16_t code, mask=None):
    cdef uint8_t out[8]
    return (<const char*>out)[:frame_close(out, code, mask_bytes(mask))]


cdef const uint8_t* mask_bytes(mask) except? NULL:
    if mask is None:
        return NULL
    if len(mask) != 4:
        raise ValueError("a mask has four bytes")
    return <const uint8_t*><const char*>mask


def is_utf8(bytes text):
    cdef uint32_t length = <uint32_t>len(text)
    cdef uint8_t* memory = <uint8_t*>malloc(length or 1)
    memcpy(memory, <const char*>text, length)
    try:
        return bool(utf8_valid(memory, length))
    finally:
        free(memory)


def measure_frames(bytes frame, bint server, uint32_t rounds):
    # The same frames again and again: what was unmasked in place is masked again by the next round, so that with a mask
    # of ASCII and text of ASCII the payload is ASCII in each.
    cdef uint32_t count = <uint32_t>(1 << 20) // <uint32_t>len(frame), length = count * <uint32_t>len(frame)
    cdef uint8_t* stream = <uint8_t*>malloc(length)
    cdef uint8_t head[FRAME_HEAD_MAX]
    cdef uint8_t mask[4]
    cdef FrameReader reader
    cdef FrameSpan span
    cdef uint32_t start, used, i, j, found = 0, written = 0
    cdef uint64_t begun
    cdef double reading, writing, masking
    memset(&reader, 0, sizeof(reader))
    memcpy(mask, b"mask", 4)
    reader.masked = server
    for i in range(count):
        memcpy(stream + i * <uint32_t>len(frame), <const char*>frame, len(frame))
    with nogil:
        begun = thread_nanoseconds()
        for i in range(rounds):
            start = 0
            while frame_next(&reader, stream + start, length - start, &used, &span) == FRAME_MESSAGE:
                start += used
                found += 1
        reading = <double>(thread_nanoseconds() - begun) / (<double>rounds * count)
        begun = thread_nanoseconds()
        for i in range(rounds):
            for j in range(count):
                written += frame_head(stream + j * 16, 1, 100 + (j & 511), NULL)
        writing = <double>(thread_nanoseconds() - begun) / (<double>rounds * count)
        begun = thread_nanoseconds()
        for i in range(rounds):
            for j in range(count):
                written += frame_head(stream + j * 16, 1, 100 + (j & 511), mask)
        masking = <double>(thread_nanoseconds() - begun) / (<double>rounds * count)
    free(stream)
    if found != rounds * count or written == 0:
        raise AssertionError(f"{found} of {rounds * count} frames were found")
    return {"read_ns": reading, "head_ns": writing, "masked_head_ns": masking}
