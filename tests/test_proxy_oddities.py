"""What peers send that no specification made them send, and what must come of it.

1. Answers that cannot be passed on or written leave no transaction behind.
2. RFC 4320 4.1: no provisional response but 100 to a non-INVITE request. RFC 6026 8.2: late copies of a 2xx.
3. 16.3 and 8.2.2: what is checked for requests that end here, and what for those that go on.
4. Via: white space around "=", several values of one line, a topmost one that cannot be read (18.2.1, RFC 3581 4).
5. CANCEL and ACK that fit nothing (9.2, 16.10, 17.1.1.3).
6. Rights: a From that only we cannot read, an empty To tag, a token under another Call-ID.
"""

import re

import msgspec
import pytest
from engine import SETTINGS, ack, engine, header, headers, reply, request
from test_proxy_rights import confirm, digest


@pytest.fixture
def server():
    with engine() as made:
        yield made


@pytest.fixture
def pair(server):
    alice, bob = server.phone(), server.phone()
    server.register("bob@example.com", f"sip:bob@{bob.name}")
    return alice, bob


def only_our_via(text):
    """A response as of a phone that forgets all Via lines but the first."""
    for via in headers(text, "Via")[1:]:
        text = text.replace(f"Via: {via}\r\n", "")
    return text


@pytest.mark.parametrize("status", ["200 OK", "486 Busy Here"])
@pytest.mark.parametrize("method", ["INVITE", "MESSAGE"])
def test_answer_without_the_callers_via(pair, method, status):
    # 16.7 step 3: it is not to be forwarded; the caller gets an answer all the same.
    alice, bob = pair
    text = request(method, "sip:bob@example.com", alice)
    alice.send(text)
    bob.send(only_our_via(reply(bob.expect(method), status)))
    got = alice.expect("SIP/2.0 502")
    if method == "INVITE":
        alice.send(ack(text, got))
        if status.startswith("486"):
            bob.expect("ACK")


def test_provisional_answers_to_other_methods_stay_here(pair):
    alice, bob = pair
    alice.send(request("MESSAGE", "sip:bob@example.com", alice))
    got = bob.expect("MESSAGE")
    for status in ("100 Trying", "180 Ringing", "199 Early"):
        bob.send(reply(got, status))
    bob.send(reply(got, "200 OK"))
    assert alice.receive().startswith("SIP/2.0 200"), "RFC 4320 4.1"


def test_2xx_long_after_the_call_is_dropped(server, pair):
    alice, bob = pair
    text = request("INVITE", "sip:bob@example.com", alice)
    alice.send(text)
    ok = reply(bob.expect("INVITE"), "200 OK")
    bob.send(ok)
    alice.expect("SIP/2.0 200")
    assert server.settled()
    bob.send(ok)
    assert alice.silent(), "a stray 2xx was forwarded (RFC 6026 8.9)"
    assert server.counters()["dropped_stray"] == 1


@pytest.mark.parametrize("change", [
    ("CSeq: 1 INVITE", "CSeq: 1 BYE"),
    ("SIP/2.0 200 OK", "SIP/2.0 700 Odd"),
    (";branch=z9hG4bK", ";branch=z9hG4bL"),
])
def test_responses_that_fit_nothing(server, pair, change):
    alice, bob = pair
    text = request("INVITE", "sip:bob@example.com", alice)
    alice.send(text)
    invite = bob.expect("INVITE")
    bob.send(reply(invite, "200 OK").replace(*change, 1))
    assert alice.receive().startswith("SIP/2.0 100")
    assert alice.silent()
    bob.send(reply(invite, "486 Busy"))
    alice.send(ack(text, alice.expect("SIP/2.0 486")))


def test_second_final_answer_is_not_passed_on(pair):
    alice, bob = pair
    text = request("INVITE", "sip:bob@example.com", alice)
    alice.send(text)
    invite = bob.expect("INVITE")
    for status in ("486 Busy Here", "200 OK", "180 Ringing", "603 Decline"):
        bob.send(reply(invite, status))
    alice.send(ack(text, alice.expect("SIP/2.0 486")))
    assert alice.silent()


def test_register_that_arrives_with_its_last_hop(server):
    # Max-Forwards limits forwarding (16.3 step 3); this is where the request was going.
    phone = server.phone()
    phone.send(request("REGISTER", "sip:example.com", phone, max_forwards=0, callee="sip:alice@example.com"))
    phone.expect("SIP/2.0 200")


def test_require_for_the_server_itself(server):
    phone = server.phone()
    phone.send(request("OPTIONS", "sip:example.com", phone, "Require: 100rel, x"))
    assert header(phone.expect("SIP/2.0 420"), "Unsupported") == "100rel, x"


def test_require_for_the_callee_passes(pair):
    alice, bob = pair
    alice.send(request("OPTIONS", "sip:bob@example.com", alice, "Require: x"))
    bob.send(reply(bob.expect("OPTIONS"), "420 Bad Extension"))
    alice.expect("SIP/2.0 420")


@pytest.mark.parametrize("rport", ["rport", "rport=", "rport = 9", "RPORT= 9", "rport =9", 'rport="9"'])
def test_rport_however_it_is_written(pair, rport):
    alice, bob = pair
    via = f"Via: SIP / 2.0 / UDP  phone.invalid:9 ; {rport} ;branch=z9hG4bK-{abs(hash(rport))} , SIP/2.0/UDP 192.0.2.9"
    alice.send(request("MESSAGE", "sip:bob@example.com", alice, via=via))
    got = bob.expect("MESSAGE")
    assert re.search(rf";[ ]?rport ?= ?{alice.port}[ ;]", headers(got, "Via")[1], re.IGNORECASE), got
    bob.send(reply(got, "200 OK"))
    alice.expect("SIP/2.0 200")


def test_received_that_somebody_else_filled_in(pair):
    alice, bob = pair
    via = f"Via: SIP/2.0/UDP {alice.name};received=192.0.2.1;branch=z9hG4bK-rc;rport;received=192.0.2.2"
    alice.send(request("MESSAGE", "sip:bob@example.com", alice, via=via))
    got = bob.expect("MESSAGE")
    assert "192.0.2.1" not in headers(got, "Via")[1]
    bob.send(reply(got, "200 OK"))
    alice.expect("SIP/2.0 200")


@pytest.mark.parametrize("via", ["Via: junk", "Via: SIP/2.0/UDP", "Via:",
                                 "Via: SIP/2.0/UDP 127.0.0.1:0;branch=z9hG4bK-0",
                                 "Via: SIP/2.0/UDP 127.0.0.1 of mine;branch=z9hG4bK-0"])
def test_via_that_cannot_be_read_gets_no_answer(server, via):
    phone = server.phone()
    phone.proxy = server.address
    phone.send(request("OPTIONS", f"sip:{server.name}", phone, via=via))
    assert phone.silent()
    assert server.counters()["responses_out"] == 0


@pytest.mark.parametrize("rest", [";;branch=z9hG4bK-0", ";=", ",", ';x="', " (a"])
def test_via_whose_host_can_be_read_gets_a_400(server, rest):
    # RFC 4475 3.1.2.1: by its sent-by, for an rport nobody can be sure of.
    phone = server.phone()
    phone.send(request("OPTIONS", f"sip:{server.name}", phone, via=f"Via: SIP/2.0/UDP {phone.name}{rest}"))
    got = phone.expect("SIP/2.0 400")
    assert header(got, "Via") == f"SIP/2.0/UDP {phone.name}{rest}".rstrip()


@pytest.mark.parametrize("missing", ["From", "To", "Call-ID", "CSeq", "From To Call-ID CSeq"])
def test_what_is_missing_is_not_in_the_400(server, missing):
    phone = server.phone()
    text = request("OPTIONS", f"sip:{server.name}", phone)
    for name in missing.split():
        text = re.sub(rf"\r\n{name}: [^\r]*", "", text)
    phone.send(text)
    got = phone.expect("SIP/2.0 400")
    assert {name for name in ("From", "To", "Call-ID", "CSeq") if f"\r\n{name}:" not in got} == set(missing.split())
    assert headers(got, "Via") and ("To" in missing or ";tag=" in header(got, "To"))


def test_headers_of_a_request_uri_go_nowhere(server):
    # 19.1.1, RFC 4475 3.1.2.11: not with the Request-URI, nor with a strict route that becomes one.
    with engine(open_relay=True) as relay:
        alice, bob = relay.phone(), relay.phone()
        alice.send(request("MESSAGE", f"sip:x@{bob.name};a=b?Route=%3Csip:z%3E", alice))
        bob.expect(f"MESSAGE sip:x@{bob.name};a=b SIP/2.0\r\n")
        alice.send(request("MESSAGE", "sip:x@192.0.2.1?a=b", alice, f"Route: <sip:{bob.name}?c=d>", cseq=2))
        got = bob.expect(f"MESSAGE sip:{bob.name} SIP/2.0\r\n")
        assert headers(got, "Route") == ["<sip:x@192.0.2.1>"]


@pytest.mark.parametrize("to", ["isbn:1", "tel:+1972", "http://example.com"])
def test_register_of_what_is_no_sip_uri(server, to):
    # 10.3 step 5, RFC 4475 3.3.4.
    phone = server.phone()
    phone.send(request("REGISTER", "sip:example.com", phone, callee=to))
    phone.expect("SIP/2.0 400")


def test_order_of_the_lines_does_not_matter(server, pair):
    alice, bob = pair
    text = (f"MESSAGE sip:bob@example.com SIP/2.0\r\nRoute: <sip:{server.name};lr>\r\n"
            f"Record-Route: <sip:192.0.2.3;lr>\r\nl: 2\r\ni: order@x\r\nCSEQ: 3\r\n  MESSAGE\r\n"
            f"f: <sip:alice@example.com>;tag=1\r\nMax-Forwards : 9\r\n"
            f"v: SIP/2.0/UDP {alice.name};branch=z9hG4bK-o1 , SIP/2.0/UDP 192.0.2.9\r\nRoute: , <sip:{server.name}>\r\n"
            "v: SIP/2.0/UDP 192.0.2.10\r\nt: <sip:bob@example.com>\r\n\r\nhitoo much")
    alice.send(text)
    alice.expect("SIP/2.0 400")
    alice.send(text.replace("Route: , <", "X: <").replace("z9hG4bK-o1", "z9hG4bK-o2"))
    got = bob.expect("MESSAGE")
    assert got.endswith("\r\n\r\nhi") and "Max-Forwards : 8\r\n" in got and not headers(got, "Route")
    assert got.split("\r\n")[1].startswith(f"Via: SIP/2.0/UDP {server.name};")
    bob.send(got.replace(got.split("\r\n")[0], "SIP/2.0 200 OK").replace("\r\nX", "\r\nY"))
    ok = alice.expect("SIP/2.0 200")
    assert not headers(ok, "Via")
    assert f"v: SIP/2.0/UDP {alice.name};branch=z9hG4bK-o2 , SIP/2.0/UDP 192.0.2.9\r\n" in ok


def test_without_max_forwards(pair):
    alice, bob = pair
    alice.send(request("MESSAGE", "sip:bob@example.com", alice, max_forwards=None))
    got = bob.expect("MESSAGE")
    assert headers(got, "Max-Forwards") == ["70"]
    bob.send(reply(got, "200 OK"))
    alice.expect("SIP/2.0 200")


@pytest.mark.parametrize(("uri", "aor"), [
    ("sip:a%6ce%78@example.com", "alex@example.com"),
    ("sip:a;b?c@example.com", "a;b?c@example.com"),
    ("sip:a%40b@EXAMPLE.com:7000", "a%40b@example.com"),
    ("SIP:bob:secret@Example.Com;user=phone?Subject=x", "bob@example.com"),
    ("sip:+1(972)555@example.com;transport=udp", "+1(972)555@example.com"),
])
def test_users_with_odd_names(server, uri, aor):
    alice, bob = server.phone(), server.phone()
    server.register(aor, f"sip:x@{bob.name};a=b?Route=%3Csip:192.0.2.1%3E")
    alice.send(request("MESSAGE", uri, alice))
    got = bob.expect(f"MESSAGE sip:x@{bob.name};a=b SIP/2.0\r\n")
    bob.send(reply(got, "200 OK"))
    alice.expect("SIP/2.0 200")


def test_cancel_of_another_call(pair):
    # 9.2 and 17.2.3: it names the transaction by branch and sent-by alone, and these are another's.
    alice, bob = pair
    text = request("INVITE", "sip:bob@example.com", alice, branch="z9hG4bK-mine")
    alice.send(text)
    invite = bob.expect("INVITE")
    bob.send(reply(invite, "180 Ringing"))
    alice.expect("SIP/2.0 180")
    mallory = bob.__class__()
    mallory.proxy = alice.proxy
    for options in ({"branch": "z9hG4bK-mine"}, {"branch": "z9hG4bK-other", "call_id": header(text, "Call-ID")}):
        mallory.send(request("CANCEL", "sip:bob@example.com", mallory, **options))
        # 16.10: it may be of a call that was forwarded without a trace, so whoever is called says what he knows of it.
        cancel = bob.expect("CANCEL")
        assert headers(cancel, "Via")[0] != headers(invite, "Via")[0], "it would end alice's call"
        bob.send(reply(cancel, "481 Call/Transaction Does Not Exist"))
        mallory.expect("SIP/2.0 481")
    mallory.socket.close()
    assert bob.silent()
    bob.send(reply(invite, "486 Busy"))
    bob.expect("ACK")
    alice.send(ack(text, alice.expect("SIP/2.0 486")))


def test_acks_that_fit_nothing(server, pair):
    alice, bob = pair
    for uri in ("sip:bob@example.com", f"sip:bob@{bob.name}", "sip:example.com", "tel:+1", "sip:x@192.0.2.1"):
        for to_tag in ("", "x", "fs0123456789abcdef"):
            alice.send(request("ACK", uri, alice, to_tag=to_tag))
            alice.send(request("ACK", uri, alice, f"Route: <sip:{bob.name};lr>", to_tag=to_tag))
            alice.send(request("ACK", uri, alice, f"Route: <sip:{server.name};lr>", to_tag=to_tag, max_forwards=0))
    assert bob.silent() and alice.silent(0.01), "an ACK that nothing asked for was forwarded or answered"


def test_token_is_bound_to_the_whole_call_id(server, pair):
    alice, bob = pair
    route = header(confirm(server, alice, bob, call_id="whole", from_tag="ab"), "Record-Route")
    for call_id, from_tag in (("wholea", "b"), ("whol", "eab")):
        alice.send(request("MESSAGE", f"sip:x@{bob.name}", alice, f"Route: {route}", call_id=call_id, from_tag=from_tag,
                           to_tag="b1"))
        alice.expect("SIP/2.0 403")


def test_empty_to_tag_is_no_dialog(server, pair):
    alice, bob = pair
    route = header(confirm(server, alice, bob, call_id="empty@x"), "Record-Route")
    for end in (";tag=", ";tag", ';tag= ;tag=b1'):
        text = request("INVITE", f"sip:x@{bob.name}", alice, f"Route: {route}", call_id="empty@x", cseq=2)
        alice.send(text.replace("To: <sip:bob@example.com>", "To: <sip:bob@example.com>" + end))
        alice.expect("SIP/2.0 400")
    assert bob.silent()


@pytest.mark.parametrize("sender", ["sip:bob@example.com:99999", "sip:bob@example.com;=", "sips:bob@example.com:0",
                                    "sip:bob@example.com;x=%zz"])
def test_from_that_only_we_cannot_read(sender):
    # Else whoever writes it so would call as bob without his password.
    with engine(required=["*"]) as server:
        alice, bob = server.phone(), server.phone()
        server.register("bob@example.com", f"sip:bob@{bob.name}")
        alice.send(request("MESSAGE", "sip:bob@example.com", alice, caller=sender))
        alice.expect("SIP/2.0 400")
        assert bob.silent()


def test_several_lines_of_credentials():
    # Those of other realms, schemes and algorithms are passed over; of the rest the first counts: one guess a request.
    with engine(required=["*"]) as server:
        alice, bob = server.phone(), server.phone()
        server.user("alice", "secret")
        server.register("bob@example.com", f"sip:bob@{bob.name}")
        alice.send(request("MESSAGE", "sip:bob@example.com", alice))
        challenge = alice.expect("SIP/2.0 407")
        right = digest(challenge, "Proxy-Authenticate", "MESSAGE", "sip:bob@example.com", algorithm="SHA-256")
        lines = [right.replace("SHA-256", "SHA-512-256"), right.replace('realm="example.com"', 'realm="example.org"'),
                 "Proxy-Authorization: Basic abc"]
        wrong = re.sub('response=".', 'response="?', right)
        alice.send(request("MESSAGE", "sip:bob@example.com", alice, *lines, wrong, right, cseq=2))
        alice.expect("SIP/2.0 407")
        lines.append(right)
        alice.send(request("MESSAGE", "sip:bob@example.com", alice, *lines, cseq=3))
        got = bob.expect("MESSAGE")
        assert not [line for line in headers(got, "Proxy-Authorization") if 'realm="example.com"' in line]
        bob.send(reply(got, "200 OK"))
        alice.expect("SIP/2.0 200")


def test_answers_that_fit_in_no_datagram(server):
    # Many bindings, or a request whose answer is longer than it: nothing is sent, and nothing stays.
    phone = server.phone()
    aor = "sip:alice@example.com"
    phone.send(request("REGISTER", "sip:example.com", phone, "Contact: <sip:a@192.0.2.1>", callee=aor))
    [fact] = server.facts()
    server.register("alice@example.com", *(f"sip:a@192.0.2.{i};x={'x' * 40_000}" for i in range(4)))
    server.worker.give_results([(fact[1], 200, 0)])
    server.register("bob@example.com", "sip:bob@192.0.2.1:5060")
    text = request("MESSAGE", "sip:bob@example.com", phone)
    lines = [f"v: SIP/2.0/UDP 192.0.2.1;b={i}" + "x" * 220 for i in range(246)]
    text = text.replace("\r\nFrom", "\r\n" + "\r\n".join(lines) + "\r\nFrom")
    text = text.replace("\r\nContent-Length: 0\r\n", "\r\nX: " + "x" * (65_490 - len(text)) + "\r\n")
    assert len(text) < 65_507
    phone.send(text)
    assert server.settled()


def test_contact_nobody_could_be_sent_to(server):
    phone = server.phone()
    contact = f"Contact: <sip:a@192.0.2.1;x={'x' * 1100}>"
    phone.send(request("REGISTER", "sip:example.com", phone, contact, callee="sip:alice@example.com"))
    phone.expect("SIP/2.0 400")


def test_new_settings_change_what_is_offered():
    with engine(required=["*"], algorithms=["MD5"]) as server:
        alice = server.phone()
        for names in (["MD5"], ["SHA-256"], ["SHA-256", "MD5"]):
            server.worker.reload(msgspec.structs.replace(SETTINGS, required=["*"], algorithms=names))
            alice.send(request("MESSAGE", "sip:bob@example.com", alice))
            offered = headers(alice.expect("SIP/2.0 407"), "Proxy-Authenticate")
            assert [re.search("algorithm=([^,]*)", line)[1] for line in offered] == names


def test_a_refusal_repeats_no_line_end_that_is_none(server):
    """A CR or LF alone is refused, and not sent on in the refusal: somebody may take it for a line's end."""
    phone = server.phone()
    text = request("OPTIONS", f"sip:{server.name}", phone).replace("Call-ID: ", "Call-ID: a\rVia: b\n c\x01\r\n d")
    phone.send(text)
    answer = phone.expect("SIP/2.0 400")
    assert header(answer, "Call-ID").startswith("a Via: b  c")
    assert not re.search(r"\r(?!\n)|(?<!\r)\n|\x01", answer)
