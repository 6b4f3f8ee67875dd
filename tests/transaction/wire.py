"""SIP text by name, and the RFC's timer values in milliseconds, for the transaction tests."""

from __future__ import annotations

T1, T2, T4 = 500, 4000, 5000


def request(
    method: str = "INVITE",
    *,
    branch: str | None = "z9hG4bKclient1",
    sent_by: str = "client.example.com",
    via: str | None = None,
    uri: str = "sip:bob@example.com",
    from_tag: str = "from1",
    to_tag: str = "",
    call_id: str = "call1",
    cseq: int = 1,
    headers: tuple[str, ...] = (),
    body: str = "",
) -> bytes:
    via = via or f"SIP/2.0/UDP {sent_by}" + (f";branch={branch}" if branch is not None else "")
    lines = [
        f"{method} {uri} SIP/2.0",
        f"Via: {via}",
        "Max-Forwards: 70",
        f"From: <sip:alice@example.com>;tag={from_tag}",
        "To: <sip:bob@example.com>" + (f";tag={to_tag}" if to_tag else ""),
        f"Call-ID: {call_id}",
        f"CSeq: {cseq} {method}",
        *headers,
        f"Content-Length: {len(body)}",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def response(status: int, to: bytes, *, to_tag: str = "to1", cseq_method: str | None = None) -> bytes:
    """The response to a request (8.2.6), with a To tag if the request had none."""
    lines = [f"SIP/2.0 {status} Whatever"]
    for line in to.decode().split("\r\n")[1:]:
        name, _, value = line.partition(": ")
        if name in ("Via", "From", "Call-ID", "To", "CSeq"):
            if name == "To" and ";tag=" not in value and status > 100:
                line += f";tag={to_tag}"
            if name == "CSeq" and cseq_method:
                line = f"CSeq: {value.split()[0]} {cseq_method}"
            lines.append(line)
    return ("\r\n".join([*lines, "Content-Length: 0"]) + "\r\n\r\n").encode()


def ack(invite: bytes, *, to_tag: str = "to1") -> bytes:
    """The ACK of a non-2xx final response (17.1.1.3)."""
    text = invite.decode().replace("INVITE", "ACK")
    head = text.split("\r\n\r\n")[0].split("\r\n")
    lines = [line + f";tag={to_tag}" if line.startswith("To:") and ";tag=" not in line else line for line in head]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def cancel(invite: bytes) -> bytes:
    return invite.replace(b"INVITE", b"CANCEL")


def headers(message: bytes) -> list[tuple[str, str]]:
    lines = message.decode().split("\r\n\r\n")[0].split("\r\n")[1:]
    return [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
