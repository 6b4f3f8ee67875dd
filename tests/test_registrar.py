"""RFC 3261 10.3 steps 6 to 8 as `fastsip._facts.Register.decide` decides them.

1. A contact that is not bound is added; one that is, by the URI comparison rules, is updated or removed.
2. Same Call-ID: only a higher CSeq changes a binding, else the request fails (500). Another Call-ID may always.
3. `*` removes all, unless one binding has the same Call-ID and no lower CSeq.
4. All changes are made or none.
5. The repeat of a REGISTER that was applied gets 200 and changes nothing.
6. A late copy of an older REGISTER does not bring back what was removed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastsip._facts import Dialogs, Register, apply, without_expired
from fastsip.location import Binding, BindingSet
from fastsip.registrar import Removals

NOW = 1_800_000_000_000
ORIGIN = (4, bytes(16), 5062, 0, 1, 0)
Bindings = tuple[Binding, ...]
A, B, C = b"sip:a@192.0.2.1", b"sip:b@192.0.2.2", b"sip:c@192.0.2.3"


def bound(uri: bytes, call_id: bytes = b"x", cseq: int = 5, left: int = 600) -> Binding:
    return Binding(uri, call_id, b"", b"", 1000, 1, (4, bytes(16), 5062), cseq, 0, NOW + left * 1000, NOW, 0)


class Request(NamedTuple):
    """A REGISTER fact behind its kind, as msgpack has it."""

    token: int
    aor: bytes
    call_id: bytes
    cseq: int
    flags: int
    origin: tuple[int, bytes, int, int, int, int]
    path: bytes
    contacts: tuple[tuple[bytes, int, int, bytes], ...]

    def read(self) -> Register:
        (register,), left_out = apply(msgpack.packb((1, *self)), 1, 0, Dialogs())
        assert register.readable and not left_out
        return register


def register(*contacts: tuple[bytes, int], call_id: bytes = b"x", cseq: int = 6, flags: int = 0) -> Request:
    listed = tuple((uri, 1000, expires, b"") for uri, expires in contacts)
    return Request(1, b"bob@example.com", call_id, cseq, flags, ORIGIN, b"", listed)


def decide(before: Bindings, request: Request, now: int, max_contacts: int) -> tuple[Bindings | None, int]:
    """The bindings after the request, None where nothing changes, and the status; what else a change says is true."""
    value = BindingSet(7, before).encode() if before else None
    status, change = request.read().decide(value, now, max_contacts, 8)
    if change is None:
        return None, status
    after = BindingSet.decode(change.value)
    assert after.version == 8
    assert (change.before, change.count) == (len(before), len(after.bindings))
    assert change.earliest_before == min((b.expires for b in before), default=0)
    assert change.earliest == min((b.expires for b in after.bindings), default=0)
    kept = {b.uri for b in after.bindings}
    gone = [(b.call_id, b.cseq) for b in before if b.uri not in kept]
    removes = change.count < change.before or any(expires == 0 for _, _, expires, _ in request.contacts)
    assert (change.removed or []) == (gone if removes else [])
    return after.bindings, status


CASES = {
    "a first contact": ([], register((A, 60)), [A], 200),
    "two at once": ([], register((A, 60), (B, 60)), [A, B], 200),
    "a second device": ([bound(A)], register((B, 60), call_id=b"y", cseq=1), [A, B], 200),
    "a refresh keeps its place": ([bound(A), bound(B)], register((A, 60)), [A, B], 200),
    "a refresh by an equal URI": ([bound(A)], register((b"SIP:a@192.0.2.1", 60)), [b"SIP:a@192.0.2.1"], 200),
    "a removal": ([bound(A), bound(B)], register((A, 0)), [B], 200),
    "the last removal": ([bound(A)], register((A, 0)), [], 200),
    "a removal of nothing": ([bound(A)], register((B, 0)), None, 200),
    "one comes and one goes": ([bound(A)], register((A, 0), (B, 60)), [B], 200),
    "one URI twice, the last counts": ([], register((A, 60), (B, 60), (A, 0)), [B], 200),
    "no contact": ([bound(A)], register(), None, 200),
    "a lower CSeq": ([bound(A)], register((A, 60), cseq=4), None, 500),
    "a lower CSeq that removes": ([bound(A)], register((A, 0), cseq=4), None, 500),
    "the same CSeq that removes": ([bound(A)], register((A, 0), cseq=5), None, 500),
    "a lower CSeq of another Call-ID": ([bound(A)], register((A, 60), call_id=b"y", cseq=1), [A], 200),
    "one of two is too old": ([bound(A), bound(B, cseq=9)], register((A, 60), (B, 60), (C, 60)), None, 500),
    "what expired does not count": ([bound(A, cseq=9, left=0)], register((A, 60)), [A], 200),
    "what expired goes with a change": ([bound(A, left=-1), bound(B)], register((C, 60)), [B, C], 200),
    "star": ([bound(A), bound(B, call_id=b"y")], register(flags=1), [], 200),
    "star of another Call-ID": ([bound(A, cseq=9)], register(flags=1, call_id=b"y", cseq=1), [], 200),
    "star too old": ([bound(A, cseq=6), bound(B, call_id=b"y")], register(flags=1), None, 500),
    "star on nothing": ([], register(flags=1), None, 200),
    "a repeat": ([bound(A)], register((A, 60), cseq=5), None, 200),
    "a repeat of two": ([bound(A), bound(B)], register((A, 60), (B, 60), cseq=5), None, 200),
    "a repeat that removed one": ([bound(B)], register((A, 0), (B, 60), cseq=5), None, 200),
    "no repeat: one is new": ([bound(A)], register((A, 60), (B, 60), cseq=5), None, 500),
    "too many": ([bound(A), bound(B)], register((C, 60)), None, 403),
    "too many at once": ([], register((A, 60), (B, 60), (C, 60)), None, 403),
    "one for another": ([bound(A), bound(B)], register((A, 0), (C, 60)), [B, C], 200),
    "more than allowed, but a refresh": ([bound(A), bound(B), bound(C)], register((C, 60)), [A, B, C], 200),
    "only if applied, and it was": ([bound(A)], register((A, 60), cseq=5, flags=2), None, 200),
    "only if applied, and it was not": ([bound(A)], register((A, 60), flags=2), None, 401),
    "only if applied, removal done": ([], register((A, 0), flags=2), None, 200),
    "only if applied, star not done": ([bound(A)], register(flags=3), None, 401),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_decision(case: tuple[list[Binding], Request, list[bytes] | None, int]) -> None:
    before, request, uris, status = case
    after, answer = decide(tuple(before), request, NOW, max_contacts=2)
    assert answer == status
    assert (None if after is None else [b.uri for b in after]) == uris


def test_binding_takes_what_the_register_says() -> None:
    contact = (A, 700, 90, b'+sip.instance="<urn:x>"')
    request = Request(1, b"bob@example.com", b"x", 6, 0, (6, b"\1" * 16, 7, 2, 3, 9), b"<sip:p>", (contact,))
    after, _ = decide((), request, NOW, 1)
    source = (6, b"\1" * 16, 7)
    assert after == (Binding(A, b"x", contact[3], b"<sip:p>", 700, 3, source, 6, 2, NOW + 90_000, NOW, 9),)


def test_two_contacts_that_are_the_same_binding_and_not_each_other() -> None:
    """Equality of URIs does not carry over (RFC 3261 19.1.4): the last of them counts, as if in two requests."""
    first, last = A + b";x=1", A + b";x=2"
    after, status = decide((bound(A),), register((first, 60), (last, 60)), NOW, 1)
    assert after is not None and ([b.uri for b in after], status) == ([last], 200)
    after, status = decide((bound(A), bound(B)), register((first, 0), (last, 0)), NOW, 1)
    assert after is not None and ([b.uri for b in after], status) == ([B], 200)


def test_what_expired_is_left_out() -> None:
    before = BindingSet(3, (bound(A, left=0), bound(B), bound(C, left=-5))).encode()
    change = without_expired(before, NOW, 4)
    assert BindingSet.decode(change.value) == BindingSet(4, (bound(B),))
    assert (change.before, change.count, change.earliest) == (3, 1, bound(B).expires)


def test_damaged_records_are_refused() -> None:
    value = BindingSet(3, (bound(A),)).encode()
    for damaged in (b"", value[:-1], value + bytes(8)):
        with pytest.raises(ValueError, match="not a set"):
            register((A, 60)).read().decide(damaged, NOW, 1, 1)
        with pytest.raises(ValueError, match="not a set"):
            without_expired(damaged, NOW, 1)


def test_late_copy_of_a_removed_binding_is_refused_for_a_while() -> None:
    removals = Removals(memory=64_000)
    removals.remember(b"bob", b"x", 5, NOW)
    assert removals.forbids(b"bob", b"x", 4, NOW + 63_999)
    assert removals.forbids(b"bob", b"x", 5, NOW)
    assert not removals.forbids(b"bob", b"x", 6, NOW)
    assert not removals.forbids(b"bob", b"y", 4, NOW)
    assert not removals.forbids(b"bob", b"x", 4, NOW + 64_000)


def test_removals_are_bounded_in_number_and_time() -> None:
    removals = Removals(memory=1000, limit=10)
    for number in range(100):
        removals.remember(b"%d" % number, b"x", 1, NOW + number)
    assert len(removals) == 10
    removals.forget(NOW + 1098)
    assert len(removals) == 1


uris = st.sampled_from([A, B, C, b"sip:d@192.0.2.4"])
requests = st.builds(
    lambda contacts, call_id, cseq, flags: register(
        *([] if flags & 1 else contacts), call_id=call_id, cseq=cseq, flags=flags
    ),
    st.lists(st.tuples(uris, st.sampled_from([0, 60, 600])), min_size=1, max_size=4),
    st.sampled_from([b"x", b"y"]),
    st.integers(1, 6),
    st.sampled_from([0, 0, 0, 0, 1, 2]),
)


@given(st.lists(st.tuples(requests, st.integers(0, 90)), max_size=20))
@settings(max_examples=150, deadline=None)
def test_history_keeps_the_rules(history: list[tuple[Request, int]]) -> None:
    now, current = NOW, ()
    for request, pause in history:
        now += pause * 1000
        live = {b.uri: b for b in current if b.expires > now}
        after, status = decide(current, request, now, max_contacts=3)
        if after is None:
            assert status in (200, 401, 403, 500)
            continue
        assert status == 200
        assert not request.flags & 2
        wanted = dict.fromkeys(live, True) | {uri: bool(expires) for uri, _, expires, _ in request.contacts}
        if request.flags & 1:
            wanted = {}
        assert {b.uri for b in after} == {uri for uri, stays in wanted.items() if stays}
        assert len(after) == len({b.uri for b in after})
        assert len(after) <= max(3, len(live))
        for binding in after:
            old = live.get(binding.uri)
            if binding != old:
                assert (binding.call_id, binding.cseq) == (request.call_id, request.cseq)
                assert old is None or old.call_id != request.call_id or old.cseq < request.cseq
        for uri in live.keys() - {b.uri for b in after}:
            assert live[uri].call_id != request.call_id or live[uri].cseq < request.cseq
        # Saying it again changes nothing, except that contacts a request names and removes may be gone already.
        assert decide(after, request, now, max_contacts=3) == (None, 200)
        current = after


def test_outbound_names_a_binding_by_instance_and_reg_id() -> None:
    """RFC 5626 6: the URI may be another, or the same as another's."""
    one, two = b'reg-id=1;+sip.instance="<urn:x>"', b'+sip.instance="<urn:x>";reg-id=2'
    before = (msgspec.structs.replace(bound(A), parameters=one),)

    def keyed(uri: bytes, expires: int, parameters: bytes, flags: int = 0, origin: Any = ORIGIN) -> Request:
        return Request(1, b"bob@example.com", b"x", 6, flags, origin, b"", ((uri, 1000, expires, parameters),))

    def after(request: Request, held: Bindings = before) -> list[tuple[bytes, bytes]] | None:
        status, change = request.read().decide(BindingSet(7, held).encode(), NOW, 10, 8)
        assert status == 200
        return None if change is None else [(b.uri, b.parameters) for b in BindingSet.decode(change.value).bindings]

    assert after(keyed(B, 60, one)) == [(B, one)]
    assert after(keyed(A, 60, two)) == [(A, one), (A, two)]
    assert after(keyed(B, 0, one)) == []
    assert after(keyed(A, 0, two)) is None
    assert after(keyed(A, 60, b"")) == [(A, b"")]
    # A flow is gone: what was registered by it, and by no other since.
    gone = (*ORIGIN[:5], 77)
    assert after(keyed(A, 0, one, 4, gone)) is None
    assert after(keyed(A, 0, one, 4)) == []
    assert after(keyed(B, 0, two, 4)) is None
