"""WebSocket frames: every rule of RFC 6455 5, 7.4 and 8.1, in any pieces, and against wsproto with seeded frames."""

from __future__ import annotations

import random
import struct
import subprocess
from pathlib import Path

import pytest
from frames import BINARY, CLOSE, CONTINUATION, MASK, PING, PONG, TEXT, close, frame, masked
from harness import requires_peer
from harness.report import measured
from wsproto import ConnectionType
from wsproto.connection import Connection, ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage

from fastsip._testing import (
    SIZEOF_FRAME_READER,
    ManualFrames,
    frame_close_written,
    frame_parsed,
    frame_written,
    is_utf8,
    measure_frames,
)

ROOT = Path(__file__).parent.parent
MOST = 65507
OPTIONS = b"OPTIONS sip:example.com SIP/2.0\r\nCall-ID: 1\r\n\r\n"
Found = tuple[str, bytes, int, bool]


def found(stream: bytes, server: bool = True) -> list[Found]:
    return ManualFrames(server).feed(stream)


def in_pieces(stream: bytes, *ends: int, server: bool = True) -> list[tuple[str, bytes, int]]:
    """What is found when the stream comes cut at these places, one byte at a time without any."""
    reader, events, begun = ManualFrames(server), [], 0
    for end in [*(ends or range(1, len(stream))), len(stream)]:
        events += reader.feed(stream[begun:end])
        begun = end
    return [event[:3] for event in events]


def failure(stream: bytes, server: bool = True) -> int:
    """The code the stream fails with, which is the last thing found in it."""
    reader = ManualFrames(server)
    *_, last = reader.feed(stream)
    assert last[0] == "failed" and reader.ended
    assert reader.feed(frame(TEXT, b"more", mask=MASK if server else None)) == [], "nothing is found after a failure"
    return last[2]


# --- 5.7, the examples ---


def test_examples_of_the_rfc() -> None:
    assert found(bytes.fromhex("810548656c6c6f"), server=False) == [("message", b"Hello", TEXT, True)]
    assert found(bytes.fromhex("818537fa213d7f9f4d5158")) == [("message", b"Hello", TEXT, True)]
    pieces = bytes.fromhex("010348656c80026c6f")
    assert found(pieces, server=False) == [("message", b"Hello", TEXT, False)]
    assert found(bytes.fromhex("890548656c6c6f"), server=False) == [("ping", b"Hello", 0, True)]
    assert found(bytes.fromhex("8a8537fa213d7f9f4d5158")) == [("pong", b"Hello", 0, True)]
    for length, head in ((256, "827e0100"), (65536, "827f0000000000010000")):
        assert frame_written(BINARY, bytes(length)) == bytes.fromhex(head) + bytes(length)
    assert found(bytes.fromhex("827e0100") + bytes(256), server=False) == [("message", bytes(256), BINARY, True)]


# --- lengths ---


@pytest.mark.parametrize("length", [0, 1, 3, 4, 7, 8, 15, 16, 31, 32, 33, 63, 125, 126, 127, 500, 1400, 65000, MOST])
@pytest.mark.parametrize("server", [True, False], ids=["server", "client"])
def test_a_message_of_one_frame_is_found_in_place(length: int, server: bool) -> None:
    payload = random.Random(length).randbytes(length)
    stream = frame(BINARY, payload, mask=MASK if server else None)
    assert found(stream, server) == [("message", payload, BINARY, True)]
    assert frame_parsed(stream, server) == (BINARY, True, len(stream) - length, length)
    assert frame_written(BINARY, payload, MASK if server else None) == stream


@pytest.mark.parametrize("length", [65536, 100_000, 2**32 - 1, 2**32, 2**63 - 1])
def test_a_longer_one_is_refused_as_soon_as_its_head_is_there(length: int) -> None:
    head = frame(TEXT, mask=MASK, claimed=length, size=64)[:10]
    assert frame_parsed(head, True) == 1009
    assert frame_parsed(head[:9], True) == -14
    assert failure(head) == 1009


def test_the_first_length_too_large_in_16_bits() -> None:
    assert frame_parsed(frame(TEXT, claimed=MOST + 1)[:4], True) == 1009
    assert frame_parsed(frame(TEXT, claimed=MOST)[:4], True) == -(8 + MOST)


@pytest.mark.parametrize(("length", "size"), [(2**63, 64), (2**64 - 1, 64), (0, 16), (125, 16), (0, 64), (65535, 64)])
def test_a_length_in_the_wrong_form_is_an_error(length: int, size: int) -> None:
    assert failure(frame(TEXT, claimed=length, size=size)) == 1002


def test_so_many_bytes_are_needed_at_least() -> None:
    stream = frame(TEXT, bytes(300))
    expected = {0: -6, 1: -6, 2: -8, 3: -8, 4: -308, 8: -308, 307: -308}
    assert {cut: frame_parsed(stream[:cut], True) for cut in expected} == expected
    reader = ManualFrames()
    assert reader.feed(stream[:100]) == [] and reader.needed == 308 and reader.rest == stream[:100]
    assert reader.feed(stream[100:] + stream[:1]) == [("message", bytes(300), TEXT, True)]
    assert reader.needed == 6 and reader.rest == stream[:1]


# --- the first two bytes ---


@pytest.mark.parametrize("server", [True, False], ids=["server", "client"])
def test_every_first_byte(server: bool) -> None:
    mask = MASK if server else None
    for first in range(256):
        result = frame_parsed(bytes([first, 0x80 * server]) + (mask or b""), server)
        final, reserved, opcode = first >> 7, first & 0x70, first & 15
        right = not reserved and (opcode <= BINARY or (CLOSE <= opcode <= PONG and final))
        assert result == ((opcode, bool(final), 6 if server else 2, 0) if right else 1002), first


def test_a_client_masks_and_a_server_does_not() -> None:
    for opcode in (TEXT, BINARY, PING, PONG, CLOSE):
        assert failure(frame(opcode, mask=None), server=True) == 1002
        assert failure(frame(opcode, mask=MASK), server=False) == 1002


def test_a_mask_of_zeros_and_any_other() -> None:
    rng = random.Random(1)
    for length in range(70):
        for mask in (bytes(4), b"\xff" * 4, rng.randbytes(4)):
            payload = rng.randbytes(length)
            assert found(frame(BINARY, payload, mask=mask)) == [("message", payload, BINARY, True)]
            assert frame_written(BINARY, payload, mask) == frame(BINARY, payload, mask=mask)


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_a_control_frame_is_whole_and_short(opcode: int) -> None:
    assert failure(frame(opcode, final=False)) == 1002
    assert failure(frame(opcode, bytes(126))) == 1002
    payload = struct.pack(">H", 1000) + b"x" * 123 if opcode == CLOSE else bytes(125)
    assert found(frame(opcode, payload))[0][0] in ("close", "ping", "pong")


# --- fragments ---


def test_fragments_cut_anywhere_with_pings_between() -> None:
    stream = frame(PING, b"0") + frame(TEXT, OPTIONS[:5], final=False) + frame(PING, b"1")
    stream += frame(CONTINUATION, b"", final=False) + frame(PONG, b"2")
    stream += frame(CONTINUATION, OPTIONS[5:20], final=False) + frame(PING, b"3") + frame(CONTINUATION, OPTIONS[20:])
    stream += frame(BINARY, b"next") + frame(PING, b"4")
    expected = [("ping", b"0", 0), ("ping", b"1", 0), ("pong", b"2", 0), ("ping", b"3", 0), ("message", OPTIONS, TEXT)]
    expected += [("message", b"next", BINARY), ("ping", b"4", 0)]
    assert in_pieces(stream) == expected, "one byte at a time"
    for cut in range(1, len(stream)):
        assert in_pieces(stream, cut) == expected, cut
    for first in range(1, len(stream) - 1, 3):
        for second in range(first + 1, len(stream), 5):
            assert in_pieces(stream, first, second) == expected, (first, second)


def test_every_split_of_a_message_in_two_and_three() -> None:
    for first in range(len(OPTIONS) + 1):
        for second in range(first, len(OPTIONS) + 1, 7):
            stream = frame(BINARY, OPTIONS[:first], final=False)
            stream += frame(CONTINUATION, OPTIONS[first:second], final=False) + frame(PING)
            stream += frame(CONTINUATION, OPTIONS[second:])
            assert found(stream) == [("ping", b"", 0, True), ("message", OPTIONS, BINARY, False)]


def test_a_message_without_bytes() -> None:
    assert found(frame(TEXT)) == [("message", b"", TEXT, True)]
    stream = frame(TEXT, final=False) + frame(CONTINUATION, final=False) + frame(CONTINUATION)
    assert [event[:3] for event in found(stream + stream)] == [("message", b"", TEXT)] * 2


def test_a_continuation_of_nothing_and_a_message_within_a_message() -> None:
    assert failure(frame(CONTINUATION, b"x")) == 1002
    assert failure(frame(CONTINUATION, b"x", final=False)) == 1002
    assert failure(frame(TEXT, b"x") + frame(CONTINUATION, b"x")) == 1002
    for opcode in (TEXT, BINARY):
        assert failure(frame(TEXT, b"x", final=False) + frame(opcode, b"y")) == 1002
        assert failure(frame(TEXT, b"x", final=False) + frame(opcode, b"y", final=False)) == 1002


def test_fragments_are_bounded_together() -> None:
    half = frame(BINARY, bytes(MOST - 1000), final=False)
    whole = found(half + frame(CONTINUATION, bytes(1000)))
    assert [(what, len(data)) for what, data, *_ in whole] == [("message", MOST)]
    assert failure(half + frame(CONTINUATION, bytes(1001))) == 1009
    assert failure(half + frame(CONTINUATION, bytes(1000), final=False) + frame(CONTINUATION, b"x")) == 1009


def test_many_small_fragments() -> None:
    payload = random.Random(2).randbytes(3000)
    stream = frame(BINARY, final=False) + b"".join(frame(CONTINUATION, bytes([c]), final=False) for c in payload)
    assert found(stream + frame(CONTINUATION)) == [("message", payload, BINARY, False)]


# --- close ---


@pytest.mark.parametrize("code", range(990, 1030))
def test_close_codes_of_the_protocol(code: int) -> None:
    right = code in {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014}
    assert found(close(code)) == [("close", b"", code, True) if right else ("failed", b"", 1002, False)]


@pytest.mark.parametrize(("code", "right"), [(0, 0), (999, 0), (2999, 0), (3000, 1), (4999, 1), (5000, 0), (65535, 0)])
def test_close_codes_of_others(code: int, right: int) -> None:
    assert found(close(code))[0][:3:2] == (("close", code) if right else ("failed", 1002))


def test_close_is_the_end_and_may_say_why() -> None:
    assert found(close()) == [("close", b"", 0, True)]
    assert found(close(1001, "schöne Grüße".encode())) == [("close", "schöne Grüße".encode(), 1001, True)]
    assert failure(frame(CLOSE, b"\x03")) == 1002
    assert failure(close(1000, b"\xff")) == 1007
    reader = ManualFrames()
    stream = frame(TEXT, b"half", final=False) + close(1000) + frame(CONTINUATION, b"half") + frame(PING)
    assert [event[0] for event in reader.feed(stream)] == ["close"]
    assert reader.ended and reader.rest == b"" and reader.feed(frame(TEXT, b"x")) == []


def test_close_is_written() -> None:
    assert frame_close_written(1002) == close(1002, mask=None)
    assert frame_close_written(1000, MASK) == close(1000)
    assert frame_close_written(0) == close(mask=None) and frame_close_written(0, MASK) == close()


# --- text ---


def test_text_is_utf8_and_binary_anything() -> None:
    for text in (b"\xff", b"abc\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"x" * 500 + b"\xe2\x82"):
        assert failure(frame(TEXT, text)) == 1007
        assert failure(frame(TEXT, text, mask=None), server=False) == 1007
        assert failure(frame(TEXT, text[:1], final=False) + frame(CONTINUATION, text[1:])) == 1007
        assert found(frame(BINARY, text)) == [("message", text, BINARY, True)]


def test_a_character_may_be_cut_by_fragments() -> None:
    text = "κόσμε 💬 schön".encode()
    for cut in range(len(text) + 1):
        stream = frame(TEXT, text[:cut], final=False) + frame(CONTINUATION, text[cut:])
        assert found(stream) == [("message", text, TEXT, False)]


def by_python(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_utf8_of_every_short_sequence_is_what_python_says() -> None:
    for first in range(256):
        for second in range(256):
            text = bytes([first, second])
            assert is_utf8(text) == by_python(text), text
    edges = [0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC2, 0xE0, 0xED, 0xEF, 0xF0, 0xF4, 0xF5, 0xFF]
    for first in range(0xC0, 0x100):
        for second in edges:
            for third in edges:
                for text in (bytes([first, second, third]), bytes([first, second, third, 0x80])):
                    assert is_utf8(text) == by_python(text), text


def test_utf8_wherever_the_wide_character_is() -> None:
    for length in (15, 16, 17, 33, 64, 100):
        for at in range(length):
            for wide in ("é".encode(), "€".encode(), "💬".encode(), b"\x80", b"\xf0\x9f\x92", b"\xc1\x81"):
                text = b"a" * at + wide + b"b" * (length - at)
                assert is_utf8(text) == by_python(text)
                assert is_utf8(text[: at + len(wide)]) == by_python(text[: at + len(wide)])


# --- wsproto says the same ---


def by_wsproto(stream: bytes, server: bool, pieces: list[int]) -> list[tuple[str, bytes, int]]:
    connection = Connection(ConnectionType.SERVER if server else ConnectionType.CLIENT)
    events: list[tuple[str, bytes, int]] = []
    message = b""
    begun = 0
    for end in pieces:
        connection.receive_data(stream[begun:end])
        for event in connection.events():
            if isinstance(event, TextMessage | BytesMessage):
                message += event.data.encode() if isinstance(event, TextMessage) else bytes(event.data)
                if event.message_finished:
                    events.append(("message", message, TEXT if isinstance(event, TextMessage) else BINARY))
                    message = b""
            elif isinstance(event, CloseConnection) and connection.state is ConnectionState.OPEN:
                return [*events, ("failed", b"", int(event.code))]  # not what came, but what it would answer
            else:
                events.append(_control(event))
                if isinstance(event, CloseConnection):
                    return events
        begun = end
    return events


def _control(event: Event) -> tuple[str, bytes, int]:
    if isinstance(event, CloseConnection):
        code = 0 if event.code == 1005 else int(event.code)
        return "close", (event.reason or "").encode(), code
    assert isinstance(event, Ping | Pong)
    return "ping" if isinstance(event, Ping) else "pong", bytes(event.payload), 0


def some_text(rng: random.Random) -> bytes:
    length = rng.choice([0, 1, 5, 30, 125, 126, 500, rng.randrange(3000)])
    alphabet = rng.choice(["abc \r\n:;", "abé€💬"])
    return "".join(rng.choices(alphabet, k=length)).encode()


def some_frames(rng: random.Random, server: bool, wrong: float) -> bytes:
    """A few messages, whole and in fragments, and control frames; something is wrong in a share of them."""
    frames: list[bytes] = []
    mask = (lambda: rng.randbytes(4)) if server else (lambda: None)
    for _ in range(rng.randrange(1, 7)):
        kind = rng.choice([TEXT, TEXT, BINARY, PING, PONG])
        if kind in (PING, PONG):
            frames.append(frame(kind, rng.randbytes(rng.randrange(126)), mask=mask()))
            continue
        payload = some_text(rng) if kind == TEXT else rng.randbytes(rng.randrange(2000))
        cuts = sorted(rng.randrange(len(payload) + 1) for _ in range(rng.choice([0, 0, 1, 3])))
        parts = [payload[a:b] for a, b in zip([0, *cuts], [*cuts, len(payload)], strict=True)]
        for index, part in enumerate(parts):
            final = index == len(parts) - 1
            frames.append(frame(kind if index == 0 else CONTINUATION, part, final=final, mask=mask()))
            if not final and rng.random() < 0.3:
                frames.append(frame(rng.choice([PING, PONG]), b"between", mask=mask()))
    if rng.random() < 0.3:
        frames.append(close(rng.choice([None, 1000, 1001, 3000, 4999]), mask=mask()))
    if rng.random() < wrong:
        bad = rng.choice([
            frame(TEXT, b"\xff\xfe", mask=mask()), frame(3, mask=mask()), frame(11, mask=mask()),
            frame(TEXT, reserved=rng.randrange(1, 8), mask=mask()), frame(PING, final=False, mask=mask()),
            frame(CONTINUATION, mask=mask()), frame(TEXT, mask=None if server else MASK),
            frame(CLOSE, b"x", mask=mask()), close(1000, b"\xc3", mask=mask()),
            frame(TEXT, b"", claimed=5, size=16, mask=mask()), frame(TEXT, claimed=1 << 63, size=64, mask=mask()),
            close(rng.choice([0, 999, 1004, 1005, 1006, 1015, 2000, 65535]), mask=mask()),
        ])  # fmt: skip
        frames.insert(rng.randrange(len(frames) + 1), bad)
    return b"".join(frames)


@pytest.mark.parametrize("server", [True, False], ids=["server", "client"])
@pytest.mark.parametrize("seed", range(10))
def test_the_same_is_found_as_by_wsproto(server: bool, seed: int) -> None:
    rng = random.Random(seed)
    failed = 0
    for _ in range(300):
        stream = some_frames(rng, server, wrong=0.4)
        ends = sorted({rng.randrange(1, len(stream) + 1) for _ in range(rng.choice([0, 1, 5]))} | {len(stream)})
        ours = in_pieces(stream, *ends[:-1], server=server) if len(ends) > 1 else [e[:3] for e in found(stream, server)]
        theirs = by_wsproto(stream, server, ends)
        if ours and ours[-1][0] == "failed" and ours[-1][2] == 1007:
            # wsproto looks at each fragment as it comes, we at the whole message: what is between may come before.
            ours = [event for event in ours if event in theirs]
        assert ours == theirs, stream.hex()
        failed += bool(ours) and ours[-1][0] == "failed"
    assert 30 < failed < 250


@pytest.mark.parametrize("server", [True, False], ids=["server", "client"])
def test_what_we_write_wsproto_reads(server: bool) -> None:
    """`server` reads: so what is written is a client's, masked."""
    rng = random.Random(3)
    for _ in range(300):
        payload = some_text(rng)
        mask = rng.randbytes(4) if server else None
        stream = frame_written(TEXT, payload, mask) + frame_written(PING, payload[:100], mask)
        stream += frame_close_written(1001, mask)
        expected = [("message", payload, TEXT), ("ping", payload[:100], 0), ("close", b"", 1001)]
        assert by_wsproto(stream, server, [len(stream)]) == expected


def test_garbage_ends_one_way_or_the_other() -> None:
    rng = random.Random(4)
    for _ in range(3000):
        stream = bytearray(some_frames(rng, True, wrong=0))
        for _ in range(rng.randrange(1, 5)):
            stream[rng.randrange(len(stream))] = rng.randrange(256)
        whole = [event[:3] for event in found(bytes(stream))]
        cut = rng.randrange(1, len(stream) + 1)
        assert in_pieces(bytes(stream), cut) == whole, "in pieces as in one"


@requires_peer("gcc")
def test_nothing_outside_the_bytes_is_touched(tmp_path: Path) -> None:
    program = tmp_path / "websocket_fuzz"
    command = ["gcc", "-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-Wno-unused-function", "-Werror"]
    command += ["-fsanitize=address,undefined", "-fno-sanitize-recover", "-I", str(ROOT / "ext")]
    command += [str(ROOT / "tests/c/websocket_fuzz.c"), "-o", str(program)]
    built = subprocess.run(command, capture_output=True, text=True)
    if built.returncode and "cannot find" in built.stderr:
        pytest.skip("the compiler has no sanitizers")
    assert built.returncode == 0, built.stderr
    done = subprocess.run([program, "4000", "7"], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0 and "4000 streams" in done.stdout, done.stdout + done.stderr


# --- figures ---


def test_figures() -> None:
    assert SIZEOF_FRAME_READER == 24
    payload = (OPTIONS * 12)[:500]
    ascii_mask = b"mask"
    assert masked(masked(payload, ascii_mask), ascii_mask) == payload
    text = measure_frames(frame(TEXT, payload, mask=ascii_mask), True, 50)
    client = measure_frames(frame(TEXT, payload, mask=None), False, 50)
    measured(
        f"WebSocket: text of 500 bytes found, unmasked and checked in {text['read_ns']:.1f} ns, without mask "
        f"{client['read_ns']:.1f}; a head written in {text['head_ns']:.1f} ns, with mask {text['masked_head_ns']:.1f}"
    )
    assert text["read_ns"] < 1000
