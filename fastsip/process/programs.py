"""The two programs that choose a datagram's socket: by the owner of its Call-ID, or by the owner in our own branch.

Neither has to be right. What they miss or mistake goes where the kernel's hash of the addresses sends it, and the
worker there hands it on: the owner is worked out again from the whole message (`owner_of` in ext/control.h). So they
look only at what messages look like: a Call-ID of at most 128 bytes, CRLF behind it, one blank at most before it.
"""

from __future__ import annotations

import struct

from fastsip._control import BUCKETS

from .bpf import Classic, Extended

LONGEST_CALL_ID = 128
WINDOW = 1024
"""Bytes of a datagram in which a Call-ID is looked for."""
REACH = 32
"""Bytes of a step of the scan: what stands in the last of them is not found."""
BUFFER = WINDOW + REACH
"""Bytes of a datagram that are copied where the kernel does not hold it in one piece."""

_ONES, _HIGH = 0x0101010101010101, 0x8080808080808080
_SELECT_REUSEPORT, _LOAD_BYTES, _LOOKUP = 82, 26, 1
_PASS = 1


def _words(text: bytes) -> int:
    return int(struct.unpack("<Q", text)[0])


def _settle(e: Extended, scratch: int, reach: int) -> None:
    """Make r3 a place in [r7, r7 + WINDOW) with `reach` readable bytes, and all the verifier knows of it.

    Taking the difference of two pointers makes it forget how r3 came about: without that every path through the scan
    is a state of its own, and there are more than it is willing to look at.
    """
    e.on(scratch, "=", 3)
    e.on(scratch, "-=", 7)
    e.do(scratch, "&=", WINDOW - 1)
    e.on(3, "=", 7)
    e.on(3, "+=", scratch)
    e.on(scratch, "=", 3)
    e.do(scratch, "+=", reach)
    e.go_if_on(scratch, ">", 8, "miss")


def _find_byte(e: Extended, word: int, ones: int, high: int, scratch: int) -> None:
    """From a word xored with a byte eight times over: which bytes of `word` were that byte, each as its top bit."""
    e.on(scratch, "=", word)
    e.on(scratch, "-=", ones)
    e.do(word, "^=", -1)
    e.on(word, "&=", scratch)
    e.on(word, "&=", high)


def _first_byte(e: Extended, word: int, ones: int, scratch: int) -> None:
    """The place, 0 to 7, of the lowest top bit in `word`."""
    e.on(scratch, "=", word)
    e.negate(scratch)
    e.on(word, "&=", scratch)
    e.do(word, ">>=", 7)
    e.do(word, "-=", 1)
    e.on(word, "&=", ones)
    e.on(word, "*=", ones)
    e.do(word, ">>=", 56)


def _rotate(e: Extended, register: int, bits: int, scratch: int) -> None:
    e.on(scratch, "=", register)
    e.do(scratch, "<<=", bits)
    e.do(register, ">>=", 64 - bits)
    e.on(register, "|=", scratch)


def _sip_rounds(e: Extended, rounds: int, v: tuple[int, int, int, int], scratch: int) -> None:
    """SIP_ROUND of ext/siphash.h."""
    a, b, c, d = v
    for _ in range(rounds):
        for one, other, bits in ((a, b, 13), (c, d, 16)):
            e.on(one, "+=", other)
            _rotate(e, other, bits, scratch)
            e.on(other, "^=", one)
        _rotate(e, a, 32, scratch)
        for one, other, bits in ((a, d, 21), (c, b, 17)):
            e.on(one, "+=", other)
            _rotate(e, other, bits, scratch)
            e.on(other, "^=", one)
        _rotate(e, c, 32, scratch)


def by_call_id(key: bytes, workers: int, sockets: int, buffer: int) -> bytes:
    """The owner of a Call-ID, as `owner_of` finds it while all buckets are at home: SipHash-2-4 with the 16 bytes of
    `key`, bucket, worker. `sockets` and `buffer` are map descriptors: the group, and one BUFFER for each CPU.

    r7 and r8 are the datagram's first byte (its UDP header) and its end, r3 where we are.
    """
    e = Extended()
    context, start, length, index = -8, -16, -24, -28
    e.store(8, 10, context, 1)
    e.load(7, 8, 1, 0)
    e.load(8, 8, 1, 8)
    e.load(9, 4, 1, 16)
    e.on(2, "=", 8)
    e.on(2, "-=", 7)
    e.go_if_on(2, ">=", 9, "scan")
    # Only the first part of the datagram lies where we may look: real network cards leave the rest in pages.
    e.do(0, "=", 0)
    e.store(4, 10, index, 0)
    e.wide(1, buffer, 1)
    e.on(2, "=", 10)
    e.do(2, "+=", index)
    e.call(_LOOKUP)
    e.go_if(0, "==", 0, "miss")
    e.on(7, "=", 0)
    e.go_if(9, "<=", WINDOW, "whole")
    e.do(9, "=", WINDOW)
    e.here("whole")
    e.go_if(9, "<", 64, "miss")
    e.load(1, 8, 10, context)
    e.do(2, "=", 0)
    e.on(3, "=", 7)
    e.on(4, "=", 9)
    e.call(_LOAD_BYTES)
    e.go_if(0, "!=", 0, "miss")
    e.on(8, "=", 7)
    e.on(8, "+=", 9)

    # Line feeds, 32 bytes at a step; behind each, is it our line?
    e.here("scan")
    e.on(3, "=", 7)
    e.do(3, "+=", 8)
    e.wide(4, _HIGH)
    e.wide(5, _ONES)
    e.wide(6, _words(b"\n" * 8))
    e.do(9, "=", 0)
    e.here("step")
    e.do(9, "+=", 1)
    e.go_if(9, ">", WINDOW // 12, "miss")
    _settle(e, 2, REACH)
    for word in range(4):
        e.load(0, 8, 3, 8 * word)
        e.on(0, "^=", 6)
        e.on(0, "-=", 5)
        e.on(0, "&=", 4)
        e.go_if(0, "!=", 0, f"feed{word}")
    e.do(3, "+=", 32)
    e.go("step")
    for word in (3, 2, 1):
        e.here(f"feed{word}")
        e.do(3, "+=", 8)
    e.here("feed0")
    _settle(e, 2, 8)
    e.load(0, 8, 3, 0)
    e.on(0, "^=", 6)
    _find_byte(e, 0, 5, 4, 1)
    e.go_if(0, "!=", 0, "line")
    e.do(3, "+=", 8)  # no line feed after all: a letter beyond ASCII looked like one
    e.go("step")
    e.here("line")
    _first_byte(e, 0, 5, 1)
    e.on(3, "+=", 0)
    e.do(3, "+=", 1)
    _settle(e, 2, 8)
    e.load(0, 8, 3, 0)
    e.wide(1, _words(b" " * 8))
    e.on(0, "|=", 1)
    e.wide(1, _words(b"call-id:"))
    e.go_if_on(0, "==", 1, "name")
    e.do(0, "&=", 0xFFFF)
    e.go_if(0, "==", int.from_bytes(b"i:", "little"), "compact")
    e.go_if(0, "!=", int.from_bytes(b"\r\n", "little") | 0x2020, "step")
    e.go("miss")
    e.here("name")
    e.do(3, "+=", 6)
    e.here("compact")
    e.do(3, "+=", 2)
    _settle(e, 2, 8)
    e.load(0, 1, 3, 0)
    e.go_if(0, "!=", 0x20, "value")
    e.do(3, "+=", 1)

    # Where does it end? r9 becomes its length, as a difference: so the verifier looks at one hash and not at sixteen.
    e.here("value")
    e.wide(6, _words(b"\r" * 8))
    e.do(9, "=", LONGEST_CALL_ID // 8)
    e.store(8, 10, start, 3)
    e.here("search")
    _settle(e, 2, 8)
    e.load(0, 8, 3, 0)
    e.on(0, "^=", 6)
    _find_byte(e, 0, 5, 4, 1)
    e.go_if(0, "!=", 0, "end")
    e.do(3, "+=", 8)
    e.do(9, "-=", 1)
    e.go_if(9, "!=", 0, "search")
    e.go("miss")
    e.here("end")
    _first_byte(e, 0, 5, 1)
    e.on(3, "+=", 0)
    e.on(9, "=", 3)
    e.load(3, 8, 10, start)
    e.on(9, "-=", 3)
    e.do(9, "&=", LONGEST_CALL_ID - 1)
    e.on(0, "=", 9)
    e.do(0, "<<=", 56)
    e.store(8, 10, length, 0)

    # SipHash-2-4 of the r9 bytes at r3, in r0, r1, r2, r4; r5 is the word, r6 scratch.
    k0, k1 = struct.unpack("=QQ", key)
    v = (0, 1, 2, 4)
    starts = (k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573)
    for register, start in zip(v, starts, strict=True):
        e.wide(register, start)
    e.here("hash")
    _settle(e, 6, 8)
    e.load(5, 8, 3, 0)
    e.go_if(9, "<", 8, "rest")
    e.on(4, "^=", 5)
    _sip_rounds(e, 2, v, 6)
    e.on(0, "^=", 5)
    e.do(3, "+=", 8)
    e.do(9, "-=", 8)
    e.go("hash")
    e.here("rest")
    e.do(9, "<<=", 3)
    e.do(6, "=", 1)
    e.on(6, "<<=", 9)
    e.do(6, "-=", 1)
    e.on(5, "&=", 6)
    e.load(6, 8, 10, length)
    e.on(5, "|=", 6)
    e.on(4, "^=", 5)
    _sip_rounds(e, 2, v, 6)
    e.on(0, "^=", 5)
    e.do(2, "^=", 0xFF)
    _sip_rounds(e, 4, v, 6)
    for register in v[1:]:
        e.on(0, "^=", register)
    e.do(0, "&=", BUCKETS - 1)
    e.do(0, "%=", workers)
    e.store(4, 10, index, 0)
    e.load(1, 8, 10, context)
    e.wide(2, sockets, 1)
    e.on(3, "=", 10)
    e.do(3, "+=", index)
    e.do(4, "=", 0)
    e.call(_SELECT_REUSEPORT)
    e.here("miss")
    e.do(0, "=", _PASS)
    e.leave()
    return e.assemble()


def by_branch(lengths: list[int]) -> bytes:
    """The owner in the branch of our own Via, for responses; `lengths` are those our sent-by may have.

    A Via of ours is "Via: SIP/2.0/UDP SENT-BY;branch=z9hG4bK" and the owner's number, two digits in base 32. Requests
    go by the kernel's hash, so that one peer's requests all meet one worker and are handed on from there.
    """
    c = Classic()
    cookie, behind = len("Via: SIP/2.0/UDP ;branch=z9h"), len("G4bK")
    c.do(c.LD_LENGTH)
    c.unless(c.IF_NOT_BELOW, 12 + 64 + cookie + max(lengths) + behind + 2, "miss")
    c.do(c.LD_WORD, 0)
    c.unless(c.IF_EQUAL, int.from_bytes(b"SIP/", "big"), "miss")
    for at in range(12, 76):
        c.do(c.LD_BYTE, at)
        c.do(c.IF_EQUAL, 0x0A, 0, 2)
        c.do(c.INDEX, at + 1)
        c.go("via")
    c.go("miss")
    c.here("via")
    c.do(c.LD_WORD_INDEXED, 0)
    c.unless(c.IF_EQUAL, int.from_bytes(b"Via:", "big"), "miss")
    for length in lengths:
        c.do(c.LD_WORD_INDEXED, cookie + length)
        c.unless(c.IF_EQUAL, int.from_bytes(b"G4bK", "big"), f"not{length}")
        digits = cookie + length + behind
        for digit in (0, 1):
            c.do(c.LD_BYTE_INDEXED, digits + digit)
            c.do(c.SUBTRACT, ord("0"))
            c.do(c.IF_ABOVE, 9, 0, 1)
            c.do(c.SUBTRACT, ord("a") - ord("0") - 10)
            c.do(c.IF_ABOVE, 31, 0, 1)
            c.go("miss")
            if digit == 0:
                c.do(c.SHIFT_LEFT, 5)
                c.do(c.STORE, 0)
        c.do(c.INDEX_STORED, 0)
        c.do(c.ADD_INDEX)
        c.do(c.RETURN_ACCUMULATOR)
        c.here(f"not{length}")
    c.here("miss")
    c.do(c.RETURN, 0xFFFF)
    return c.assemble()
