"""A second opinion on SIP messages: slow, obvious, and shaped like the ABNF of RFC 3261 25.1.

Each expression stands under the rule it is made from. Where fastsip deliberately takes more or less than the rule, the
comment says so: these lines are the list of its deviations. The package itself has one parser; this one is to compare.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

LIMIT = 65507
DATAGRAM, STREAM = 1, 2

# LWS = [*WSP CRLF] 1*WSP;  SWS = [LWS]
# In a value whose line is known, all of SP HT CR LF is white space: CRs and LFs that are no fold were refused before.
S = rb"[ \t\r\n]*"
LWS = rb"[ \t\r\n]+"

# token = 1*(alphanum / "-" / "." / "!" / "%" / "*" / "_" / "+" / "`" / "'" / "~")
TOKEN = rb"[A-Za-z0-9\-.!%*_+`'~]+"

# quoted-string = SWS DQUOTE *(qdtext / quoted-pair) DQUOTE;  quoted-pair = "\" (%x00-09 / %x0B-0C / %x0E-7F)
# qdtext is not checked for UTF-8.
QUOTED = rb'"(?:[^"\\]|\\[\s\S])*"'

# gen-value = token / host / quoted-string
# Taken as wide as it can be without ambiguity: anything printable that does not end a value. It may be empty.
VALUE = rb'[^\x00-\x20\x7f-\xff"(),;<>\\]*'
# generic-param = token [EQUAL gen-value];  EQUAL = SWS "=" SWS
PARAM = rb"(?:%b)(?:%b=%b(?:%b|%b))?" % (TOKEN, S, S, QUOTED, VALUE)
PARAMS = rb"(?:;%b%b%b)*" % (S, PARAM, S)
ONE_PARAM = re.compile(rb";%b(?P<name>%b)(?:%b=%b(?P<value>%b|%b))?%b" % (S, TOKEN, S, S, QUOTED, VALUE, S))

# host = hostname / IPv4address / IPv6reference
# A hostname may hold "_" and is not checked label by label; an IPv6 address not group by group.
HOST = rb"(?:\[[0-9A-Fa-f:.]{2,}\]|[A-Za-z0-9\-._]+)"

# Via = ("Via" / "v") HCOLON via-parm *(COMMA via-parm)
# via-parm = sent-protocol LWS sent-by *(SEMI via-params)
# sent-protocol = protocol-name SLASH protocol-version SLASH transport;  sent-by = host [COLON port]
VIA = re.compile(
    rb"%b(?P<whole>%b%b/%b%b%b/%b(?P<transport>%b)%b(?P<host>%b)%b(?::%b(?P<port>[0-9]+)%b)?(?P<params>%b))"
    % (S, TOKEN, S, S, TOKEN, S, S, TOKEN, LWS, HOST, S, S, S, PARAMS)
)

# name-addr = [display-name] LAQUOT addr-spec RAQUOT;  display-name = *(token LWS) / quoted-string
# Bytes above 7F may stand in a display name without quotes. What is in the brackets is checked when it is used.
NAME_ADDR = re.compile(
    rb'%b(?P<display>%b|(?:[A-Za-z0-9\-.!%%*_+`\'~ \t\r\n\x80-\xff])*)%b<(?P<uri>[^\x00-\x20"<>]+)>%b(?P<params>%b)'
    % (S, QUOTED, S, S, PARAMS)
)
# addr-spec without brackets holds no comma, question mark or semicolon (20.10)
ADDR_SPEC = re.compile(rb'%b(?P<uri>[^\x00-\x20;,?<>"]+)%b(?P<params>%b)' % (S, S, PARAMS))
# scheme = ALPHA *(ALPHA / DIGIT / "+" / "-" / ".")
SCHEME = re.compile(rb"[A-Za-z][A-Za-z0-9+\-.]*:[\s\S]")

# escaped = "%" HEXDIG HEXDIG
ESCAPED = rb"%[0-9A-Fa-f]{2}"
# user = 1*(unreserved / escaped / user-unreserved); a bare "#" passes, for dial strings
USER = rb"(?:[A-Za-z0-9\-_.!~*'()&=+$,;?/#]|%b)+" % ESCAPED
# password = *(unreserved / escaped / "&" / "=" / "+" / "$" / ",")
PASSWORD = rb"(?:[A-Za-z0-9\-_.!~*'()&=+$,]|%b)*" % ESCAPED
# uri-parameter = pname ["=" pvalue];  paramchar = param-unreserved / unreserved / escaped; pvalue may be empty
PARAMCHAR = rb"(?:[A-Za-z0-9\-_.!~*'()\[\]/:&+$]|%b)" % ESCAPED
URI_PARAMS = rb"%b+(?:=%b*)?(?:;%b+(?:=%b*)?)*" % ((PARAMCHAR,) * 4)
# headers = "?" header *("&" header), not taken apart
URI_HEADERS = rb"(?:[A-Za-z0-9\-_.!~*'()\[\]/?:+$&=]|%b)+" % ESCAPED
SIP_URI = re.compile(
    rb"(?P<scheme>(?i:sips?)):(?:(?P<user>%b)(?::(?P<password>%b))?@)?(?P<host>%b)(?::(?P<port>[0-9]+))?"
    rb"(?:;(?P<parameters>%b))?(?:\?(?P<headers>%b))?" % (USER, PASSWORD, HOST, URI_PARAMS, URI_HEADERS)
)
# telephone-uri (RFC 3966), global and local numbers alike
TEL_URI = re.compile(rb"(?P<scheme>(?i:tel)):(?P<user>[0-9A-Fa-f+\-.()*#]+)(?:;(?P<parameters>%b))?" % URI_PARAMS)
OTHER_URI = re.compile(rb"(?P<scheme>(?!(?i:sips?|tel):)[A-Za-z][A-Za-z0-9+\-.]*):[^\x00-\x20]+")

# Request-Line = Method SP Request-URI SP SIP-Version CRLF
REQUEST_LINE = re.compile(rb"(?P<method>%b) (?P<uri>[^\x00-\x20]+) (?P<version>[^\x00-\x20]+)" % TOKEN)
# Status-Line = SIP-Version SP Status-Code SP Reason-Phrase CRLF
# The space before an empty reason may be left out; codes of a seventh class and beyond are refused.
STATUS_LINE = re.compile(rb"(?i:SIP/2\.0) (?P<status>[1-6][0-9][0-9])(?: (?P<reason>[\s\S]*))?")
# SIP-Version = "SIP" "/" 1*DIGIT "." 1*DIGIT
VERSION = re.compile(rb"(?i:SIP)/[0-9]+\.[0-9]+")

# header-name = token;  HCOLON = *(SP / HTAB) ":" SWS
# A fold may stand before the colon, as in RFC 2543.
HEADER = re.compile(rb"(?P<name>%b)%b:(?P<value>[\s\S]*)" % (TOKEN, S))
# CSeq = "CSeq" HCOLON 1*DIGIT LWS Method
CSEQ = re.compile(rb"(?P<number>[0-9]+)%b(?P<method>%b)" % (LWS, TOKEN))
# callid = word ["@" word]; any printable byte passes
CALL_ID = re.compile(rb"[^\x00-\x20]+")

SINGLE = {b"call-id", b"content-length", b"cseq", b"from", b"max-forwards", b"to"}
METHODS = {b"INVITE", b"ACK", b"BYE", b"CANCEL", b"OPTIONS", b"REGISTER", b"UPDATE", b"PRACK", b"INFO", b"MESSAGE",
           b"REFER", b"SUBSCRIBE", b"NOTIFY", b"PUBLISH"}  # fmt: skip
REQUIRED = (b"via", b"from", b"to", b"call-id", b"cseq")
COMPACT = {b"i": b"call-id", b"l": b"content-length", b"f": b"from", b"t": b"to", b"v": b"via"}


@dataclass
class Opinion:
    """What the oracle makes of some bytes: `faults` empty and `complete`, or not."""

    faults: set[int] = field(default_factory=set)
    complete: bool = False
    length: int = 0
    skipped: int = 0
    request: bool = False
    method: bytes = b""
    uri: bytes = b""
    status: int = 0
    reason: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    via: dict[str, object] = field(default_factory=dict)
    call_id: bytes | None = None
    from_tag: bytes | None = None
    to_tag: bytes | None = None
    cseq: int = 0
    cseq_method: bytes = b""
    max_forwards: int = -1
    content_length: int = -1
    body: bytes = b""

    def first(self, name: bytes) -> bytes | None:
        for found, value in self.headers:
            if COMPACT.get(found.lower(), found.lower()) == name:
                return value
        return None


def parameters(text: bytes) -> list[tuple[bytes, bytes]]:
    """The parameters of a text that matched PARAMS."""
    return [(found["name"], found["value"] or b"") for found in ONE_PARAM.finditer(text)]


def first_parameter(text: bytes, name: bytes) -> bytes | None:
    return next((value for found, value in parameters(text) if found.lower() == name), None)


def comment(text: bytes) -> bytes | None:
    """What is behind the comment that a text begins with, None if it does not close. Comments nest."""
    depth, at = 0, 0
    while at < len(text):
        if text[at] == 0x5C:
            at += 1
        elif text[at] == 0x28:
            depth += 1
        elif text[at] == 0x29:
            depth -= 1
            if depth == 0:
                return text[at + 1 :]
        at += 1
    return None


def rest(text: bytes) -> bytes | None:
    """The values behind a comma, b"" if there are none, None if something else stands there."""
    text = text.lstrip(b" \t\r\n")
    if not text:
        return b""
    behind = text[1:].lstrip(b" \t\r\n")
    return behind if text[:1] == b"," and behind else None


def via(value: bytes) -> dict[str, object] | None:
    """One via-parm, None if it is malformed."""
    match = VIA.match(value)
    if not match:
        return None
    behind = value[match.end() :]
    if behind.startswith(b"("):
        # RFC 2543 6.47: a comment may follow.
        after = comment(behind)
        if after is None:
            return None
        behind = after
    following = rest(behind)
    port = int(match["port"]) if match["port"] else None
    if following is None or (port is not None and not 0 < port < 65536):
        return None
    names = (b"branch", b"received", b"rport", b"maddr")
    found = {name.decode(): first_parameter(match["params"], name) for name in names}
    return {"host": match["host"], "port": port or 0, "transport": match["transport"], "next": following, **found}


def address(value: bytes) -> dict[str, bytes | None] | None:
    """A name-addr or addr-spec with its parameters, None if it is malformed."""
    match = NAME_ADDR.match(value) or ADDR_SPEC.match(value)
    if not match or not SCHEME.match(match["uri"]):
        return None
    following = rest(value[match.end() :])
    if following is None:
        return None
    display = match.groupdict().get("display") or b""
    return {
        "display": display.strip(b" \t\r\n"),
        "uri": match["uri"],
        "tag": first_parameter(match["params"], b"tag"),
        "next": following,
    }


def uri(value: bytes) -> dict[str, bytes | None] | None:
    """The parts of a URI, None if it is malformed."""
    match = SIP_URI.fullmatch(value) or TEL_URI.fullmatch(value) or OTHER_URI.fullmatch(value)
    if not match:
        return None
    found = match.groupdict()
    return None if found.get("port") and not 0 < int(found["port"]) < 65536 else found


def split(data: bytes) -> tuple[list[bytes], int | None, bool]:
    """Lines without their ends, the offset behind the empty line (None if it is not there), and whether all is CRLF and
    free of control characters outside quoted pairs (7.3.1: SP or HT after a line end goes on with the line)."""
    lines: list[bytes] = []
    begin = 0
    for at, byte in enumerate(data):
        if byte != 0x0A:
            continue
        if at == begin or (at == begin + 1 and data[begin] == 0x0D):
            return lines, at + 1, clean(data[: at + 1], ended=True)
        if at + 1 == len(data):
            break
        if lines and data[at + 1] in b" \t":
            continue
        lines.append(data[begin : at - 1] if data[at - 1] == 0x0D else data[begin:at])
        begin = at + 1
    return lines, None, clean(data, ended=False)


def clean(data: bytes, *, ended: bool) -> bool:
    for at, byte in enumerate(data):
        if byte == 0x0D:
            if data[at + 1 : at + 2] != b"\n" and (ended or at + 1 < len(data)):
                return False
        elif byte == 0x0A:
            if at == 0 or data[at - 1] != 0x0D:
                return False
        elif byte < 0x20 and byte != 0x09 and (at == 0 or data[at - 1] != 0x5C):
            return False
    return True


def number(text: bytes, largest: int) -> int | None:
    return int(text) if re.fullmatch(rb"[0-9]+", text) and int(text) <= largest else None


def start_line(line: bytes, opinion: Opinion) -> None:
    if line[:4].lower() == b"sip/":
        match = STATUS_LINE.fullmatch(line)
        if match:
            opinion.status, opinion.reason = int(match["status"]), match["reason"] or b""
        else:
            version = re.split(rb"[\x00-\x20]", line)[0]
            opinion.faults.add(505 if VERSION.fullmatch(version) and version[4:] != b"2.0" else 400)
        return
    opinion.request = bool(re.match(rb"%b " % TOKEN, line))
    match = REQUEST_LINE.fullmatch(line)
    if not match or match["uri"][:1] in (b"<", b'"') or match["uri"][-1:] == b">":
        opinion.faults.add(400)
        return
    opinion.method, opinion.uri = match["method"], match["uri"]
    if match["version"].upper() != b"SIP/2.0":
        opinion.faults.add(505 if VERSION.fullmatch(match["version"]) else 400)
    elif not SCHEME.match(match["uri"]):
        opinion.faults.add(400)


def values(opinion: Opinion) -> None:
    """The values each hop needs."""
    if any(opinion.first(name) is None for name in REQUIRED):
        opinion.faults.add(400)
    opinion.call_id = opinion.first(b"call-id")
    if opinion.call_id is not None and not CALL_ID.fullmatch(opinion.call_id):
        opinion.faults.add(400)
    cseq = CSEQ.fullmatch(opinion.first(b"cseq") or b"")
    if cseq and int(cseq["number"]) <= 0x7FFFFFFF:
        opinion.cseq, opinion.cseq_method = int(cseq["number"]), cseq["method"]
    if not opinion.cseq_method:
        opinion.faults.add(400)
    elif opinion.request and opinion.cseq_method != opinion.method:
        opinion.faults.add(400 if opinion.method in METHODS else 501)
    found = via(opinion.first(b"via") or b"")
    opinion.via = found or {}
    parties = [address(opinion.first(name) or b"") for name in (b"from", b"to")]
    if found is None or any(party is None or party["next"] for party in parties):
        opinion.faults.add(400)
    else:
        opinion.from_tag, opinion.to_tag = (party["tag"] if party else None for party in parties)
    for name, largest in ((b"max-forwards", 255), (b"content-length", 0x7FFFFFFF)):
        text = opinion.first(name)
        if text is not None:
            value = number(text, largest)
            if value is None:
                opinion.faults.add(400)
            else:
                setattr(opinion, name.decode().replace("-", "_"), value)


def message(data: bytes, framing: int = DATAGRAM) -> Opinion:
    """What RFC 3261 says about these bytes."""
    opinion = Opinion()
    opinion.skipped = len(data) - len(data.lstrip(b"\r\n"))
    data = data[opinion.skipped :]
    lines, body, fine = split(data[:LIMIT])
    if not fine:
        opinion.faults.add(400)
    if lines:
        start_line(lines[0], opinion)
    for line in lines[1:]:
        match = HEADER.fullmatch(line)
        if match:
            opinion.headers.append((match["name"], match["value"].strip(b" \t\r\n")))
        else:
            opinion.faults.add(400)
    present = [COMPACT.get(name.lower(), name.lower()) for name, _ in opinion.headers]
    if len(present) > 256 or any(present.count(name) > 1 for name in SINGLE):
        opinion.faults.add(400)
    if body is None:
        if len(data) >= LIMIT:
            opinion.faults.add(513)
        return opinion
    values(opinion)
    left = len(data) - body
    if opinion.content_length > left:
        if framing == DATAGRAM:
            opinion.faults.add(400)
        elif opinion.content_length > LIMIT - body:
            opinion.faults.add(413)
        else:
            return opinion
    elif opinion.content_length >= 0:
        left = opinion.content_length
    elif framing == STREAM:
        opinion.faults.add(400)
    if left > LIMIT - body:
        opinion.faults.add(513)
    opinion.complete = True
    opinion.body = data[body : body + left]
    opinion.length = opinion.skipped + body + left
    return opinion
