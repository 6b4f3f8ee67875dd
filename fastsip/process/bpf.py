"""Just enough of the kernel's BPF to steer datagrams: an assembler for each dialect and four system calls.

No compiler and no library: a program is a list of calls on an assembler, with names to jump to.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import struct
from collections.abc import Callable

SO_ATTACH_REUSEPORT_CBPF = 51
SO_ATTACH_REUSEPORT_EBPF = 52
SO_DETACH_REUSEPORT_BPF = 68

MAP_PERCPU_ARRAY, MAP_REUSEPORT_SOCKARRAY = 6, 20
_MAP_CREATE, _MAP_UPDATE, _PROG_LOAD = 0, 2, 5
_PROG_TYPE_SK_REUSEPORT, _ATTACH_SK_REUSEPORT_SELECT = 21, 39
_SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}
_libc = ctypes.CDLL(None, use_errno=True)


_ALU = {"+=": 0x00, "-=": 0x10, "*=": 0x20, "|=": 0x40, "&=": 0x50, "<<=": 0x60, ">>=": 0x70, "%=": 0x90,
        "^=": 0xA0, "=": 0xB0}  # fmt: skip
_JUMP = {"==": 0x10, ">": 0x20, ">=": 0x30, "!=": 0x50, "<": 0xA0, "<=": 0xB0}
_SIZE = {1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18}


class Extended:
    """eBPF instructions; registers are 0 to 10. `do` and `go_if` take a constant, `on` and `go_if_on` a register."""

    def __init__(self) -> None:
        self._code: list[tuple[int, int, int, int]] = []
        self._names: dict[str, int] = {}
        self._jumps: list[tuple[int, str]] = []

    def _put(self, opcode: int, registers: int, offset: int = 0, constant: int = 0) -> None:
        self._code.append((opcode, registers, offset, constant))

    def here(self, name: str) -> None:
        """Name the next instruction."""
        assert name not in self._names, name
        self._names[name] = len(self._code)

    def do(self, register: int, operator: str, constant: int) -> None:
        """64-bit arithmetic with a constant, extended with its sign."""
        self._put(_ALU[operator] | 0x07, register, 0, constant)

    def on(self, register: int, operator: str, other: int) -> None:
        """64-bit arithmetic with a register."""
        self._put(_ALU[operator] | 0x0F, other << 4 | register)

    def negate(self, register: int) -> None:
        self._put(0x87, register)

    def wide(self, register: int, constant: int, kind: int = 0) -> None:
        """A 64-bit constant; kind 1: the map of that descriptor."""
        low, high = struct.unpack("<ii", struct.pack("<Q", constant))
        self._put(0x18, kind << 4 | register, 0, low)
        self._put(0, 0, 0, high)

    def load(self, register: int, size: int, base: int, offset: int) -> None:
        self._put(0x61 | _SIZE[size], base << 4 | register, offset)

    def store(self, size: int, base: int, offset: int, register: int) -> None:
        self._put(0x63 | _SIZE[size], register << 4 | base, offset)

    def call(self, helper: int) -> None:
        self._put(0x85, 0, 0, helper)

    def leave(self) -> None:
        self._put(0x95, 0)

    def go(self, name: str) -> None:
        self._jumps.append((len(self._code), name))
        self._put(0x05, 0)

    def go_if(self, register: int, relation: str, constant: int, name: str) -> None:
        self._jumps.append((len(self._code), name))
        self._put(_JUMP[relation] | 0x05, register, 0, constant)

    def go_if_on(self, register: int, relation: str, other: int, name: str) -> None:
        self._jumps.append((len(self._code), name))
        self._put(_JUMP[relation] | 0x0D, other << 4 | register)

    def assemble(self) -> bytes:
        for at, name in self._jumps:
            opcode, registers, _, constant = self._code[at]
            self._code[at] = (opcode, registers, self._names[name] - at - 1, constant)
        return b"".join(struct.pack("<BBhi", *instruction) for instruction in self._code)


class Classic:
    """Classic BPF instructions: one accumulator, one index, jumps forward only, offsets from the UDP payload."""

    LD_WORD, LD_BYTE, LD_LENGTH = 0x20, 0x30, 0x80
    LD_WORD_INDEXED, LD_BYTE_INDEXED = 0x40, 0x50
    INDEX, INDEX_STORED, STORE = 0x01, 0x61, 0x02
    ADD, SUBTRACT, SHIFT_LEFT, ADD_INDEX = 0x04, 0x14, 0x64, 0x0C
    ALWAYS, IF_EQUAL, IF_ABOVE, IF_NOT_BELOW = 0x05, 0x15, 0x25, 0x35
    RETURN, RETURN_ACCUMULATOR = 0x06, 0x16

    def __init__(self) -> None:
        self._code: list[tuple[int, int, int, int]] = []
        self._names: dict[str, int] = {}
        self._jumps: list[tuple[int, str]] = []

    def here(self, name: str) -> None:
        assert name not in self._names, name
        self._names[name] = len(self._code)

    def do(self, opcode: int, constant: int = 0, then: int = 0, otherwise: int = 0) -> None:
        """One instruction; `then` and `otherwise` are how many instructions a jump skips where its relation holds or
        does not."""
        self._code.append((opcode, then, otherwise, constant))

    def go(self, name: str) -> None:
        self._jumps.append((len(self._code), name))
        self.do(self.ALWAYS)

    def unless(self, relation: int, constant: int, name: str) -> None:
        """Go to `name`, however far, if the relation does not hold."""
        self.do(relation, constant, 1, 0)
        self.go(name)

    def assemble(self) -> bytes:
        for at, name in self._jumps:
            self._code[at] = (self.ALWAYS, 0, 0, self._names[name] - at - 1)
        return b"".join(struct.pack("=HBBI", opcode, yes, no, k) for opcode, yes, no, k in self._code)


def _bpf(command: int, attributes: bytes) -> int:
    number = _SYSCALL.get(platform.machine())
    if number is None or struct.pack("=H", 1) != struct.pack("<H", 1):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    result = int(_libc.syscall(number, command, buffer, len(attributes)))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def map_create(kind: int, value_size: int, entries: int) -> int:
    """A map with 32-bit keys; its descriptor. Raises OSError, EPERM for a user without CAP_BPF."""
    return _bpf(_MAP_CREATE, struct.pack("<IIII", kind, 4, value_size, entries) + bytes(16))


def map_set_socket(fd: int, index: int, sock: socket.socket) -> None:
    key = ctypes.c_uint32(index)
    value = ctypes.c_uint64(sock.fileno())
    _bpf(_MAP_UPDATE, struct.pack("<IIQQQ", fd, 0, ctypes.addressof(key), ctypes.addressof(value), 0))


def program_load(code: bytes) -> int:
    """A program for SO_ATTACH_REUSEPORT_EBPF; its descriptor. Raises OSError, with the verifier's last words in
    `__notes__` if it was the verifier."""
    text = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(b"Dual MIT/GPL")

    def load(level: int, log: ctypes.Array[ctypes.c_char] | None) -> int:
        where = (level, len(log), ctypes.addressof(log)) if log else (0, 0, 0)
        return _bpf(
            _PROG_LOAD,
            struct.pack("<IIQQIIQ", _PROG_TYPE_SK_REUSEPORT, len(code) // 8, ctypes.addressof(text),
                        ctypes.addressof(licence), *where)
            + struct.pack("<II16sII", 0, 0, b"fastsip_owner", 0, _ATTACH_SK_REUSEPORT_SELECT),
        )  # fmt: skip

    try:
        return load(0, None)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EINVAL, errno.E2BIG):
            raise
        log = ctypes.create_string_buffer(1 << 20)
        _add_words(error, lambda: load(1, log), log)
        raise


def _add_words(error: OSError, again: Callable[[], int], log: ctypes.Array[ctypes.c_char]) -> None:
    """Do once more what failed, for what the verifier says of it."""
    try:
        os.close(again())
    except OSError:
        error.add_note("\n".join(log.value.decode(errors="replace").splitlines()[-12:]))


def attach_extended(sock: socket.socket, program: int) -> None:
    """Let the program choose among the sockets of the group this socket belongs to."""
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, program)


def attach_classic(sock: socket.socket, code: bytes) -> None:
    """The same with a classic program, which anybody may attach: its result is the place in the group."""
    text = ctypes.create_string_buffer(code, len(code))
    packed = struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(text))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, packed)


def detach(sock: socket.socket) -> None:
    """Back to the kernel's own hash. Raises OSError if nothing was attached."""
    sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, 0)
