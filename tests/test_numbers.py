"""Telephone numbers in URIs: one form for all ways to write one (RFC 3966)."""

from __future__ import annotations

import pytest

from fastsip._message import Uri
from fastsip.routes.numbers import Number, number_of

NUMBERS = {
    "tel:+1-972-555-2222": Number("+19725552222"),
    "tel:+1(972)555.2222": Number("+19725552222"),
    "tel:+44-20-7946-0123;ext=12-34": Number("+442079460123", extension="1234"),
    "tel:7042;phone-context=Example.COM": Number("7042", context="example.com"),
    "tel:7042;phone-context=example.com.": Number("7042", context="example.com"),
    "tel:863-1234;phone-context=+1-914-555": Number("8631234", context="+1914555"),
    "tel:*21#;phone-context=example.com": Number("*21#", context="example.com"),
    "tel:7a;phone-context=example.com": Number("7A", context="example.com"),
    "tel:+19725552222;isub=12%2034": Number("+19725552222", subaddress="12 34"),
    "tel:+19725552222;NPDI;rn=+1-972": Number("+19725552222", parameters=(("npdi", ""), ("rn", "+1-972"))),
    "tel:+19725552222;postd=p22": Number("+19725552222", post_dial="p22"),
    "tel:+1;phone-context=example.com": Number("+1"),
    "sip:+1-972-555-2222@ss1.example.com;user=phone": Number("+19725552222"),
    "sips:+1-972-555-2222;isub=7@ss1.example.com:5071;user=Phone": Number("+19725552222", subaddress="7"),
    "sip:7042;phone-context=example.com@gw;user=phone": Number("7042", context="example.com"),
    "sip:444-3333@gw1.example.com;phone-context=p1234": Number("4443333", context="p1234"),
    "sip:+19725552222@example.com": Number("+19725552222"),
    "sip:%2B1972@example.com": Number("+1972"),
    "sip:7042@example.com": Number("7042"),
    "sip:a1;phone-context=example.com@gw;user=phone": Number("A1", context="example.com"),
}

NONE = [
    "sip:bob@example.com",
    "sip:a1@example.com",
    "sip:bob@example.com;user=phone",
    "sip:example.com;user=phone",
    "sip:--@example.com",
    "sip:+1972;ext=1;ext=2@example.com",
    "sip:+1972A@example.com;user=phone",
    "mailto:+1972@example.com",
]


@pytest.mark.parametrize("text", NUMBERS)
def test_one_form(text: str) -> None:
    assert number_of(Uri(text)) == NUMBERS[text]


@pytest.mark.parametrize("text", NONE)
def test_no_number(text: str) -> None:
    assert number_of(Uri(text)) is None


def test_comparison() -> None:
    """RFC 3966 5: separators and case mean nothing, the order of parameters neither; every parameter counts."""

    def same(a: str, b: str) -> bool:
        first, second = number_of(Uri(a)), number_of(Uri(b))
        assert first is not None
        assert second is not None
        assert (hash(first) == hash(second)) == (first == second)
        return first == second

    assert same("tel:+1-972-555-2222", "tel:+1(972)5552222")
    assert same("tel:+1-972-555-2222", "sip:+19725552222@example.com;user=phone")
    assert same("tel:1a;phone-context=a.example", "tel:1A;phone-context=A.EXAMPLE")
    assert same("tel:+1972;rn=1;npdi", "tel:+1972;NPDI;RN=1")
    assert not same("tel:+1972", "tel:1972;phone-context=+1")
    assert not same("tel:1972;phone-context=example.com", "tel:1972;phone-context=example.net")
    assert not same("tel:+1972", "tel:+1972;ext=1")
    assert not same("tel:+1972;isub=1", "tel:+1972;isub=2")


def test_declared_or_only_looking_like_one() -> None:
    texts = ["tel:+1972", "sip:+1972@a;user=phone", "sip:+1972@a", "sip:7042@a"]
    assert [number.declared for text in texts if (number := number_of(Uri(text)))] == [True, True, False, False]


def test_written_in_the_order_of_the_rfc() -> None:
    number = number_of(Uri("tel:70-42;zone=1;phone-context=example.com;isub=1%202;npdi"))
    assert number is not None
    assert number.tel() == "tel:7042;isub=1%202;phone-context=example.com;npdi;zone=1"
    assert number.sip("gw:5070", ";transport=udp") == (
        "sip:7042;isub=1%202;phone-context=example.com;npdi;zone=1@gw:5070;transport=udp;user=phone"
    )
    assert Number("*21#").sip("gw") == "sip:*21%23@gw;user=phone"
    again = number_of(Uri(number.tel()))
    assert again == number


def test_dialled() -> None:
    local = Number("7042", context="example.com", subaddress="1")
    assert local.dialled("97042") == Number("97042", context="example.com", subaddress="1")
    assert local.dialled("+1972557042") == Number("+1972557042", subaddress="1")
    assert Number("+1972").dialled("001972") == Number("001972")
    assert (Number("+1972").length, Number("7042").length) == (4, 4)
