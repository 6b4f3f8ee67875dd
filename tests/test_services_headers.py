"""What a forwarded call says about its way: History-Info (RFC 7044), cause (RFC 4458), Diversion (RFC 5806), privacy.

1. Who was called first has index 1, or what he came with; each redirection adds a level, a Reason and a cause.
2. A device of somebody forwarded to is told the whole way, and which devices rang before; a device of whom the call was
   for is told nothing.
3. Diversion headers of others stay as they are, ours are above them, newest first.
4. With Privacy: history or header the way through our domains is hidden from strangers, and only from them.
"""

from __future__ import annotations

from typing import Any

import pytest
from services_stage import Stage, all_headers, header

BUSY, RING, ANSWER = "486@0.5", "180@0", "180@0 200@3"


def at(name: str, people: dict[str, Any], devices: dict[str, str], **call: str) -> tuple[list[str], list[str], str]:
    """History-Info, Diversion and Request-URI of the INVITE that a device got, "@name" for its address."""
    stage = Stage(people, devices)
    stage.call(**{"to": "bob", **call})
    (invite,) = stage.phones[name].invites
    for known, phone in stage.phones.items():
        invite = invite.replace(phone.device.address, known if known.startswith("@") else f"@{known}")
    stage.close()
    history = ",".join(all_headers(invite, "History-Info")).split(",")
    return history, all_headers(invite, "Diversion"), invite.split()[1]


@pytest.mark.parametrize(
    "people, devices, cause, reason",
    [
        ({"forward_always": "@x"}, {}, 302, "unconditional"),
        ({"forward_busy": "@x"}, {"bob": BUSY}, 486, "user-busy"),
        ({"forward_no_answer": "@x"}, {"bob": RING}, 408, "no-answer"),
        ({"forward_unavailable": "@x"}, {"bob": "503@1"}, 503, "unavailable"),
        ({"forward_unavailable": "@x"}, {}, 404, "unavailable"),
        ({"forward_no_answer": "@x"}, {}, 404, "unavailable"),
        ({"forward_busy": "@x", "do_not_disturb": True}, {"bob": RING}, 486, "do-not-disturb"),
    ],
)
def test_each_kind_of_forward_says_why(
    people: dict[str, Any], devices: dict[str, str], cause: int, reason: str
) -> None:
    history, diversions, uri = at("@x", {"bob": people}, {**devices, "@x": ANSWER})
    why = f"?Reason=SIP%3Bcause%3D{cause}"
    assert uri == f"sip:x@@x;cause={cause}"
    if devices and reason != "do-not-disturb":
        assert history == [
            "<sip:bob@example.com>;index=1",
            f"<sip:bob@@bob{why}>;index=1.1;rc=1",
            f"<sip:x@@x;cause={cause}>;index=1.2;mp=1",
        ]
    else:
        assert history == [f"<sip:bob@example.com{why}>;index=1", f"<sip:x@@x;cause={cause}>;index=1.1;mp=1"]
    assert diversions == [f"<sip:bob@example.com>;reason={reason};counter=1"]


def test_his_own_devices_are_told_nothing() -> None:
    history, diversions, _ = at("bob", {"bob": {"forward_busy": "@x"}}, {"bob": BUSY, "@x": ANSWER})
    assert (history, diversions) == ([""], [])


def test_a_way_through_two_people_to_a_stranger() -> None:
    people = {"bob": {"forward_busy": "amy"}, "amy": {"forward_no_answer": "@x"}}
    devices = {"bob": BUSY, "amy": RING, "@x": ANSWER}
    history, diversions, uri = at("amy", people, devices)
    assert uri == "sip:amy@@amy"
    assert history == [
        "<sip:bob@example.com>;index=1",
        "<sip:bob@@bob?Reason=SIP%3Bcause%3D486>;index=1.1;rc=1",
        "<sip:amy@example.com;cause=486>;index=1.2;mp=1",
        "<sip:amy@@amy>;index=1.2.1;rc=1.2",
    ]
    assert diversions == ["<sip:bob@example.com>;reason=user-busy;counter=1"]
    history, diversions, uri = at("@x", people, devices)
    assert uri == "sip:x@@x;cause=408"
    assert history == [
        "<sip:bob@example.com>;index=1",
        "<sip:bob@@bob?Reason=SIP%3Bcause%3D486>;index=1.1;rc=1",
        "<sip:amy@example.com;cause=486>;index=1.2;mp=1",
        "<sip:amy@@amy?Reason=SIP%3Bcause%3D408>;index=1.2.1;rc=1.2",
        "<sip:x@@x;cause=408>;index=1.2.2;mp=1.2",
    ]
    assert diversions == [
        "<sip:amy@example.com>;reason=no-answer;counter=1",
        "<sip:bob@example.com>;reason=user-busy;counter=1",
    ]


def test_of_several_devices_only_the_one_that_rang_alone_has_a_reason() -> None:
    people = {"bob": {"forward_no_answer": "@x", "ring_time": 5}}
    history, _, _ = at("@x", people, {"bob": RING, "bob.2": RING, "@x": ANSWER})
    assert sorted(history) == [
        "<sip:bob@@bob.2>;index=1.1;rc=1",
        "<sip:bob@@bob>;index=1.2;rc=1",
        "<sip:bob@example.com?Reason=SIP%3Bcause%3D408>;index=1",
        "<sip:x@@x;cause=408>;index=1.3;mp=1",
    ]
    history, _, _ = at("@x", people, {"bob": RING, "bob.2;q=0.5": RING, "@x": ANSWER})
    assert history == [
        "<sip:bob@example.com>;index=1",
        "<sip:bob@@bob>;index=1.1;rc=1",
        "<sip:bob@@bob.2?Reason=SIP%3Bcause%3D408>;index=1.2;rc=1",
        "<sip:x@@x;cause=408>;index=1.3;mp=1",
    ]


def test_not_all_of_many_devices_are_told_of() -> None:
    devices = {"bob": RING, **{f"bob.{n}": RING for n in range(2, 11)}, "@x": ANSWER}
    history, _, _ = at("@x", {"bob": {"forward_no_answer": "@x", "ring_time": 5}}, devices)
    places = [entry.partition(";index=")[2].partition(";")[0] for entry in history]
    assert places == ["1", *(f"1.{n}" for n in range(3, 11)), "1.11"]


def test_find_me_follows_him_and_others_are_others() -> None:
    people = {"bob": {"find_me": ["bob @x amy"]}}
    devices = {"bob": RING, "@x": RING, "amy": ANSWER}
    assert at("bob", people, devices)[:2] == ([""], [])
    history, diversions, uri = at("@x", people, devices)
    assert (history, uri) == (["<sip:bob@example.com>;index=1", "<sip:x@@x>;index=1.2;rc=1"], "sip:x@@x")
    assert diversions == ["<sip:bob@example.com>;reason=follow-me;counter=1"]
    history, _, _ = at("amy", people, devices)
    assert history == [
        "<sip:bob@example.com>;index=1",
        "<sip:amy@example.com>;index=1.3;mp=1",
        "<sip:amy@@amy>;index=1.3.1;rc=1.3",
    ]


@pytest.mark.parametrize(
    "received, kept, index",
    [
        ("History-Info: <sip:bob@example.com>;index=1\r\n", [], "1"),
        (
            "History-Info: <sip:carl@b.example?Reason=SIP%3Bcause%3D302>;index=1\r\n"
            "History-Info: <sip:bob@example.com;cause=302>;index=1.1;mp=1\r\n",
            ["<sip:carl@b.example?Reason=SIP%3Bcause%3D302>;index=1", "<sip:bob@example.com;cause=302>;index=1.1;mp=1"],
            "1.1.0",
        ),
        (
            'History-Info: "Carl, the" <sip:carl@b.example>;index=1, <sip:bob@example.com>;index=1.1;np=1\r\n',
            ['"Carl', ' the" <sip:carl@b.example>;index=1'],
            "1.1",
        ),
        ("History-Info: <sip:elsewhere@b.example>;index=1.2\r\n", ["<sip:elsewhere@b.example>;index=1.2"], "1.2.0"),
        ("History-Info: broken <\r\n", [], "1"),
    ],
    ids=["the same", "with another parameter", "two and a display name", "a gap", "broken"],
)
def test_what_came_along_stays_in_front(received: str, kept: list[str], index: str) -> None:
    history, _, _ = at("@x", {"bob": {"forward_always": "@x"}}, {"@x": ANSWER}, headers=received)
    assert history[: len(kept)] == kept
    asked, sent = history[-2:]
    assert asked.startswith("<sip:bob@example.com?Reason=SIP%3Bcause%3D302>") and f";index={index}" in asked
    assert sent == f"<sip:x@@x;cause=302>;index={index}.1;mp={index}"


def test_diversions_of_others_stay_below_ours() -> None:
    others = "Diversion: <sip:carl@b.example>;reason=unconditional;privacy=off\r\n"
    _, diversions, _ = at("@x", {"bob": {"forward_always": "@x"}}, {"@x": ANSWER}, headers=others)
    assert diversions == [
        "<sip:bob@example.com>;reason=unconditional;counter=1",
        "<sip:carl@b.example>;reason=unconditional;privacy=off",
    ]


@pytest.mark.parametrize("privacy, left", [("history", []), ("id;history", ["id"]), ("header", ["header"])])
def test_privacy_hides_our_part_from_strangers(privacy: str, left: list[str]) -> None:
    received = f"Privacy: {privacy}\r\nHistory-Info: <sip:carl@b.example>;index=1,<sip:desk@example.com>;index=1.1\r\n"
    people = {"bob": {"forward_busy": "amy"}, "amy": {"forward_busy": "@x"}}
    stage = Stage(people, {"bob": BUSY, "amy": BUSY, "@x": ANSWER})
    stage.call("bob", headers=received)
    (invite,) = stage.phones["@x"].invites
    history = header(invite, "History-Info").replace(stage.phones["@x"].device.address, "@x")
    nobody = "sip:anonymous@anonymous.invalid"
    assert history.split(",") == [
        "<sip:carl@b.example>;index=1",
        f"<{nobody}>;index=1.1",
        f"<{nobody}>;index=1.1.0",
        f"<{nobody}?Reason=SIP%3Bcause%3D486>;index=1.1.0.1;rc=1.1.0",
        f"<{nobody}>;index=1.1.0.2;mp=1.1.0",
        f"<{nobody}?Reason=SIP%3Bcause%3D486>;index=1.1.0.2.1;rc=1.1.0.2",
        "<sip:x@@x;cause=486>;index=1.1.0.2.2;mp=1.1.0.2",
    ]
    assert all_headers(invite, "Diversion") == [f"<{nobody}>;reason=user-busy;counter=1;privacy=full"] * 2
    assert all_headers(invite, "Privacy") == left
    (invite,) = stage.phones["amy"].invites
    assert "sip:desk@example.com" in header(invite, "History-Info") and "anonymous" not in invite
    assert all_headers(invite, "Privacy") == [privacy]
    stage.close()


def test_an_entry_that_asks_for_privacy_is_hidden_from_strangers() -> None:
    received = "History-Info: <sip:desk@example.com?Privacy=history&Reason=SIP%3Bcause%3D486>;index=1\r\n"
    history, _, _ = at("@x", {"bob": {"forward_always": "@x"}}, {"@x": ANSWER}, headers=received)
    assert history[0] == "<sip:anonymous@anonymous.invalid?Reason=SIP%3Bcause%3D486>;index=1"
    assert history[1].startswith("<sip:bob@example.com?")
