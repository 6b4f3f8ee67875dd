"""SIP messages, changed the way people and enemies change them."""

from __future__ import annotations

import random
import re

TOKENS = [
    b"\r\n", b"\r\n ", b"\r\n\t", b"\r\n\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b";", b",", b":", b"=", b"<", b">",
    b'"', b"\\", b"@", b"?", b"&", b"*", b"%", b"%00", b"%0d%0a", b"(", b")", b"[", b"]", b"[::1]", b"\xff\xfe",
    b"\xc3\xa4", b";tag=", b";tag=x", b";lr", b";rport", b";received=127.66.0.1", b";branch=z9hG4bK", b";branch=",
    b";maddr=127.66.0.9", b";transport=tcp", b";ttl=1", b";q=0.5", b";expires=0", b";ob", b"?Replaces=a", b"sip:",
    b"sips:", b"tel:+1", b"sip:bob@example.com", b"<sip:example.com;lr>", b"SIP/2.0", b"SIP/3.0", b"SIP/2.0/UDP",
    b"INVITE", b"ACK", b"BYE", b"CANCEL", b"OPTIONS", b"REGISTER", b"UPDATE", b"z9hG4bK", b"anonymous",
]  # fmt: skip
NUMBERS = [b"0", b"1", b"-1", b"00", b"255", b"256", b"5060", b"65535", b"65536", b"2147483647", b"2147483648",
           b"4294967295", b"4294967296", b"99999999999999999999", b"0x1", b"1.5", b"", b"9" * 60]  # fmt: skip
LINES = [
    b"Via: SIP/2.0/UDP 127.66.0.2;branch=z9hG4bK-w", b"v: SIP/2.0/TCP [::1]:5061;branch=z9hG4bKq;rport",
    b"Route: <sip:127.66.0.3;lr>", b"Route: <sip:bob@127.66.0.3>", b"Record-Route: <sip:127.66.0.2;lr>",
    b"Contact: *", b"Contact: <sip:x@127.66.0.4>;expires=0", b"Expires: 0", b"Max-Forwards: 0", b"Max-Forwards: 1",
    b"Max-Breadth: 1", b"Max-Breadth: 0", b"Require: x", b"Proxy-Require: x", b"Content-Length: 70000", b"l: 0",
    b"Call-ID: other", b"i: y", b"To: <sip:a>", b"f: <sip:b@example.com>;tag=1", b"CSeq: 1 ACK", b"CSeq: 7 CANCEL",
    b'Proxy-Authorization: Digest username="alice", realm="example.com", nonce="0", uri="x", response="0"',
    b"Authorization: Digest username=alice", b"Privacy: id", b"P-Asserted-Identity: <sip:root@example.com>",
    b"Supported: path, outbound, gruu", b"Path: <sip:127.66.0.3;lr>", b"Min-Expires: 9", b"Retry-After: 4",
    b"Contact: <sip:c@127.66.0.3>;q=0.9, <sip:d@127.66.0.4>;q=0.1", b"Replaces: a;to-tag=1;from-tag=2",
    b"X-Long: " + b"a" * 900, b" continued", b": no name", b"NoColon",
]  # fmt: skip
COMPACT = {
    b"via": b"v", b"from": b"f", b"to": b"t", b"call-id": b"i", b"contact": b"m", b"content-length": b"l",
    b"content-type": b"c", b"supported": b"k", b"subject": b"s", b"event": b"o", b"refer-to": b"r",
}  # fmt: skip
LARGEST = 65_507


class Mutator:
    """Changes messages by the numbers of `choose`. What `keep` says of a message's first bytes stays."""

    def __init__(self, choose: random.Random) -> None:
        self.choose = choose
        self.splices: list[bytes] = []
        """Messages that parts are taken from."""

    def mutate(self, message: bytes, keep: int = 0) -> bytes:
        head, text = message[:keep], message[keep:]
        for _ in range(self.choose.choice((1, 1, 1, 2, 2, 3, 8))):
            text = self.choose.choice(CHANGES)(self, text)
        return (head + text)[:LARGEST]

    def _span(self, text: bytes) -> tuple[int, int]:
        at = self.choose.randrange(len(text) + 1)
        return at, min(len(text), at + self.choose.choice((0, 1, 1, 2, 5, 20, 200)))

    def some_bytes(self, text: bytes) -> bytes:
        at, end = self._span(text)
        match self.choose.randrange(5):
            case 0:
                return text[:at] + self.choose.randbytes(end - at) + text[end:]
            case 1:
                return text[:at] + text[end:]
            case 2:
                return text[:at] + text[at:end] * self.choose.choice((2, 3, 40)) + text[end:]
            case 3 if text:
                at %= len(text)
                return text[:at] + bytes((text[at] ^ 1 << self.choose.randrange(8),)) + text[at + 1 :]
        return text[:at] + text[at:end].swapcase() + text[end:]

    def token(self, text: bytes) -> bytes:
        at, end = self._span(text)
        return text[:at] + self.choose.choice(TOKENS) + text[self.choose.choice((at, at, end)) :]

    def truncate(self, text: bytes) -> bytes:
        return text[: self._span(text)[0]] if self.choose.random() < 0.3 else text

    def number(self, text: bytes) -> bytes:
        found = list(re.finditer(rb"\d+", text))
        if not found:
            return text
        one = self.choose.choice(found)
        new = self.choose.choice([*NUMBERS, b"%d" % (int(one[0][:18]) + self.choose.choice((-1, 1)))])
        return text[: one.start()] + new + text[one.end() :]

    def word(self, text: bytes) -> bytes:
        """Another word, or one of another message, in the place of one."""
        found = list(re.finditer(rb"[\w.%-]+", text))
        if not found:
            return text
        one = self.choose.choice(found)
        new = self.choose.choice(TOKENS)
        if self.splices and self.choose.random() < 0.5:
            new = self.choose.choice(re.findall(rb"[\w.%-]+", self.choose.choice(self.splices)) or [b""])
        return text[: one.start()] + new + text[one.end() :]

    def uri(self, text: bytes) -> bytes:
        found = list(re.finditer(rb"(?:sips?|tel):[^\s>;,\"]+", text))
        if not found:
            return text
        one = self.choose.choice(found)
        other = self.choose.choice(found)[0]
        new = self.choose.choice((
            other, b"sip:example.com", b"sip:bob@example.com:5060", b"sip:%62ob@EXAMPLE.com", b"tel:+15551234",
            b"sip:" + b"a" * 1100 + b"@example.com", b"sip:@", b"sip:bob:pw@example.com;user=phone?a=b", b"urn:x:y",
            one[0] + b";maddr=127.66.0.3;transport=udp;lr", one[0] + b"?Route=%3Csip:a%3E", b"sips:bob@example.com",
        ))  # fmt: skip
        return text[: one.start()] + new + text[one.end() :]

    def lines(self, text: bytes) -> bytes:
        ends = self.choose.choice((b"\r\n",) * 30 + (b"\n", b"\r"))
        lines = text.split(b"\r\n")
        one, other = (self.choose.randrange(len(lines)) for _ in range(2))
        match self.choose.randrange(10):
            case 0:
                lines[one], lines[other] = lines[other], lines[one]
            case 1:
                lines.insert(other, lines[one])
            case 2:
                del lines[one]
            case 3:
                lines[one:one] = [lines[one]] * self.choose.choice((2, 2, 40, 300))
            case 4:
                lines.insert(one, self.choose.choice(LINES))
            case 5 | 6:
                name, colon, value = lines[one].partition(b":")
                short = COMPACT.get(name.lower())
                new = self.choose.choice((short or name, name.upper(), name.lower(), name + b" ", name + b"\t "))
                lines[one] = new + colon + value
            case 7:  # a fold at a blank
                at = lines[one].find(b" ", lines[one].find(b":") + 1)
                if at > 0:
                    lines[one] = lines[one][:at] + b"\r\n" + self.choose.choice((b" ", b"\t", b"   ")) + lines[one][at:]
            case 8 if lines[one].partition(b":")[0] == lines[other].partition(b":")[0]:
                lines[one] += b"," + lines[other].partition(b":")[2]
            case _:
                found = [line for line in self._other().split(b"\r\n") if b":" in line]
                if found:
                    lines[one] = self.choose.choice(found)
        return ends.join(lines)

    def splice(self, text: bytes) -> bytes:
        """The first lines of one message and the last of another, or the values one header has in the other."""
        other = self._other()
        if self.choose.random() < 0.3:
            mine, theirs = text.split(b"\r\n"), other.split(b"\r\n")
            return b"\r\n".join(mine[: self.choose.randrange(len(mine) + 1)]
                                + theirs[self.choose.randrange(len(theirs) + 1) :])  # fmt: skip
        name = self.choose.choice((b"Via", b"From", b"To", b"Call-ID", b"CSeq", b"Contact", b"Record-Route"))
        found = re.search(rb"(?im)^%b:.*?\r\n" % re.escape(name), other)
        if not found:
            return text
        return re.sub(rb"(?im)^%b:.*?\r\n" % re.escape(name), lambda _: found[0], text, count=1)

    def _other(self) -> bytes:
        return self.choose.choice(self.splices) if self.splices else b"\r\n".join(LINES)


CHANGES = [
    Mutator.some_bytes, Mutator.token, Mutator.token, Mutator.truncate, Mutator.number, Mutator.number, Mutator.word,
    Mutator.uri, Mutator.lines, Mutator.lines, Mutator.lines, Mutator.splice,
]  # fmt: skip
