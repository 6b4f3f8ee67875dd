"""The worker's half of the registrar: what becomes a fact, what is answered at once, and what a result turns into.

1. RFC 3261 10.3 steps 2 to 6: 420, 404, 400 for a bad `*`, 423 with Min-Expires, limits of `expires`.
2. The fact: canonical address-of-record, contacts with q, expires and the rest of their parameters.
3. Step 8: the 200 lists every binding; a query needs no state process.
4. 401 with both algorithms; To and From must be the authenticated user's; a replayed REGISTER is only good for what it
   did the first time.
5. No state process: 503 with Retry-After.
"""

import time
from email.utils import formatdate

import pytest
from engine import engine, header, headers, request
from test_proxy_rights import digest


@pytest.fixture
def server():
    with engine() as made:
        yield made


def register(phone, *extra, user="alice", **options):
    aor = options.pop("aor", f"sip:{user}@example.com")
    options.setdefault("caller", aor)
    return request("REGISTER", "sip:example.com", phone, *extra, callee=aor, **options)


def the_fact(server):
    [fact] = server.facts()
    assert fact[0] == 1
    return fact


def finish(server, phone, fact, status=200):
    server.worker.give_results([(fact[1], status, 0)])
    return phone.expect(f"SIP/2.0 {status}")


def test_fact(server):
    phone = server.phone()
    first = 'Contact: "A, l" <sip:a@192.0.2.4:5070;x=1>;q=0.5;expires=120;+sip.instance="<urn:x>";ob'
    phone.send(
        register(
            phone,
            f"{first}, sip:b@192.0.2.5;q=0.25",
            f"m: <sip:c@{phone.name}>;expires=0",
            "Expires: 200",
            aor="sip:%61lice@EXAMPLE.com:5099;user=phone",
            call_id="reg@x",
            cseq=7,
        )
    )
    fact = the_fact(server)
    assert fact[2:5] == [b"alice@example.com", b"reg@x", 7]
    assert fact[5] == 0
    assert fact[6][:3] == [4, b"\x7f\0\0\1" + bytes(12), phone.port]
    assert fact[8] == [
        [b"sip:a@192.0.2.4:5070;x=1", 500, 120, b'+sip.instance="<urn:x>";ob'],
        [b"sip:b@192.0.2.5", 250, 200, b""],
        [b"sip:c@" + phone.name.encode(), 1000, 0, b""],
    ]
    assert phone.silent(), "answered before the state process did"
    server.register("alice@example.com", "sip:a@192.0.2.4", q=500)
    ok = finish(server, phone, fact)
    assert header(ok, "Contact").startswith("<sip:a@192.0.2.4>;q=0.500;expires=")
    assert server.counters()["registers_ok"] == 1


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        (["Contact: <sip:a@192.0.2.4>"], 3600),
        (["Contact: <sip:a@192.0.2.4>", "Expires: 99999999999"], 3600),
        (["Contact: <sip:a@192.0.2.4>", "Expires: soon"], 3600),
        (["Contact: <sip:a@192.0.2.4>;expires=61", "Expires: 100"], 61),
        (["Contact: <sip:a@192.0.2.4>", "Expires: Thu, 01 Dec 1994 16:00:00 GMT"], 0),
        (["Contact: <sip:a@192.0.2.4>", "Expires: Thu, 01 Dec 2094 16:00:00 GMT"], 3600),
        (["Contact: <sip:a@192.0.2.4>", "Expires: {soon}"], 60),
    ],
)
def test_expiry(server, lines, seconds):
    phone = server.phone()
    soon = formatdate(time.time() + 5, usegmt=True)
    phone.send(register(phone, *(line.replace("{soon}", soon) for line in lines)))
    fact = the_fact(server)
    assert [contact[2] for contact in fact[8]] == [seconds]
    finish(server, phone, fact)


REG_IDS_OF_NOBODY = ["reg-id=0", "reg-id=x", "reg-id=-1", "reg-id=2147483648", "reg-id=99999999999999999999", "reg-id"]
"""RFC 5626 4.2: from 1 to 2^31 - 1."""


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["Contact: <sip:a@192.0.2.4>;expires=59"], 423),
        (["Contact: <sip:a@192.0.2.4>", "Expires: 1"], 423),
        (["Contact: *"], 400),
        (["Contact: *", "Expires: 10"], 400),
        (["Contact: *, <sip:a@192.0.2.4>", "Expires: 0"], 400),
        (["Contact: <sip:a@192.0.2.4>;q=7"], 400),
        *((['Contact: <sip:a@192.0.2.4>;+sip.instance="<urn:x>";' + one], 400) for one in REG_IDS_OF_NOBODY),
        (["Contact: <sip:a@192.0.2.4"], 400),
        (["Require: path, 100rel", "Contact: <sip:a@192.0.2.4>"], 420),
    ],
)
def test_refused(server, lines, status):
    phone = server.phone()
    phone.send(register(phone, *lines))
    got = phone.expect(f"SIP/2.0 {status}")
    if status == 423:
        assert header(got, "Min-Expires") == "60"
    assert server.facts(0.05) == []


@pytest.mark.parametrize("number", ["1", "2147483647"])
def test_reg_ids(server, number):
    phone = server.phone()
    parameters = f'reg-id={number};+sip.instance="<urn:x>"'
    phone.send(register(phone, f"Contact: <sip:a@192.0.2.4>;{parameters}", "Supported: path, outbound"))
    fact = the_fact(server)
    assert fact[8][0][3] == parameters.encode()
    finish(server, phone, fact)


def test_address_of_record_of_another_domain(server):
    phone = server.phone()
    phone.send(register(phone, "Contact: <sip:a@192.0.2.4>", aor="sip:alice@far.invalid"))
    phone.expect("SIP/2.0 404")


def test_star(server):
    phone = server.phone()
    phone.send(register(phone, "Contact: *", "Expires: 0"))
    fact = the_fact(server)
    assert fact[5] == 1 and fact[8] == []
    assert not headers(finish(server, phone, fact), "Contact")


def test_query_is_answered_from_the_segment(server):
    phone = server.phone()
    phone.send(register(phone))
    assert not headers(phone.expect("SIP/2.0 200"), "Contact")
    server.register("alice@example.com", "sip:a@192.0.2.4")
    phone.send(register(phone))
    assert header(phone.expect("SIP/2.0 200"), "Contact").startswith("<sip:a@192.0.2.4>;expires=")


def test_results(server):
    phone = server.phone()
    for status in (403, 500):
        phone.send(register(phone, "Contact: <sip:a@192.0.2.4>"))
        finish(server, phone, the_fact(server), status)
    server.worker.give_results([(12345, 200, 0), (2**64 - 1, 500, 0)])
    assert phone.silent()


def test_retransmission_waits_with_the_first(server):
    phone = server.phone()
    text = register(phone, "Contact: <sip:a@192.0.2.4>")
    phone.send(text)
    fact = the_fact(server)
    phone.send(text)
    assert server.facts(0.05) == []
    first = finish(server, phone, fact)
    phone.send(text)
    assert phone.expect("SIP/2.0 200") == first


def test_listen_address_stands_for_the_first_domain(server):
    phone = server.phone()
    phone.send(register(phone, "Contact: <sip:a@192.0.2.4>", aor=f"sip:alice@{server.name}"))
    fact = the_fact(server)
    assert fact[2] == b"alice@example.com"
    finish(server, phone, fact)


def test_without_a_state_process(server):
    phone = server.phone()
    phone.send(register(phone, "Contact: <sip:a@192.0.2.4>"))
    assert header(phone.expect("SIP/2.0 503", 8), "Retry-After")


@pytest.fixture
def guarded():
    with engine(required=["REGISTER"]) as made:
        made.user("alice", "secret")
        made.user("bob", "hidden")
        yield made


def authenticated(guarded, phone, *extra, algorithm="SHA-256", user="alice", password="secret", **options):
    phone.send(register(phone, *extra, **options))
    challenge = phone.expect("SIP/2.0 401")
    line = digest(
        challenge, "WWW-Authenticate", "REGISTER", "sip:example.com", user, password, algorithm, name="Authorization"
    )
    text = register(phone, line, *extra, cseq=2, **options)
    phone.send(text)
    return text


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_digest(guarded, algorithm):
    phone = guarded.phone()
    authenticated(guarded, phone, "Contact: <sip:a@192.0.2.4>", algorithm=algorithm)
    fact = the_fact(guarded)
    assert fact[5] == 0
    finish(guarded, phone, fact)


def test_replayed_register_is_only_good_for_what_it_did(guarded):
    phone = guarded.phone()
    text = authenticated(guarded, phone, "Contact: <sip:a@192.0.2.4>")
    finish(guarded, phone, the_fact(guarded))
    phone.send(text.replace("branch=z9hG4bK-", "branch=z9hG4bK-again"))
    fact = the_fact(guarded)
    assert fact[5] == 2
    assert "stale=true" in header(finish(guarded, phone, fact, 401), "WWW-Authenticate")


@pytest.mark.parametrize(
    ("caller", "aor"),
    [("sip:alice@example.com", "sip:bob@example.com"), ("sip:bob@example.com", "sip:alice@example.com")],
)
def test_nobody_registers_somebody_else(guarded, caller, aor):
    phone = guarded.phone()
    authenticated(guarded, phone, "Contact: <sip:a@192.0.2.4>", caller=caller, aor=aor)
    phone.expect("SIP/2.0 403")
    assert guarded.facts(0.05) == []


def test_wrong_password(guarded):
    phone = guarded.phone()
    authenticated(guarded, phone, "Contact: <sip:a@192.0.2.4>", password="guess")
    phone.expect("SIP/2.0 401")
    assert guarded.counters()["auth_failures"] == 1
