"""Services in the configuration, in files beside it, and as a person types them for `ctl`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from test_config import wrong

from fastsip.config import ConfigurationError, load
from fastsip.config.services import file_services, value_of
from fastsip.services.record import Record

FILE = '[server]\ndomains = "example.com"\n[services]\nfile = "people.csv"\n'

# What is written, and what the message must say.
MISTAKES = {
    "no destination": (
        '[users.bob]\nforward_busy = "voicemail of bob"',
        'fastsip.toml:2: users.bob.forward_busy = "voicemail of bob": expected a URI such as "sip:bob@voicemail',
    ),
    "another scheme": (
        '[users.bob]\nforward_busy = "mailto:bob@x"',
        'users.bob.forward_busy = "mailto:bob@x": expected',
    ),
    "headers": (
        '[users.bob]\nforward_busy = "sip:bob@x?a=b"',
        'users.bob.forward_busy = "sip:bob@x?a=b": expected a URI',
    ),
    "himself": (
        '[server]\ndomains = "example.com"\n[users.bob]\nforward_no_answer = "bob"',
        'fastsip.toml:4: users.bob.forward_no_answer = "sip:bob@example.com": bob@example.com would forward to himself',
    ),
    "ring time": (
        "[users.bob]\nring_time = 900",
        "fastsip.toml:2: users.bob.ring_time = 900: expected a number from 1 to 180, in seconds",
    ),
    "find_me": (
        '[users.bob]\nfind_me = [["al", "b b"]]',
        'fastsip.toml:2: users.bob.find_me[0][1] = "b b": expected groups of URIs or names, such as [["bob", "sip:bob@',
    ),
    "find_me nobody": ("[users.bob]\nfind_me = [[]]", "users.bob.find_me"),
    "flag": ('[users.bob]\ndo_not_disturb = "on"', 'users.bob.do_not_disturb = "on": expected true or false'),
    "glob": (
        '[users.bob]\nblock_incoming = ["sip:a@*", "a@b"]',
        'users.bob.block_incoming[1] = "a@b": expected a SIP or tel URI in which "*" and "?" stand for anything',
    ),
    "misspelt": ('[users.bob]\nforward_allways = "sip:a@b"', 'unknown key; did you mean "forward_always"? (known: '),
    "services table": ('[services]\nfiles = "x"', 'fastsip.toml:2: services.files: unknown key; did you mean "file"?'),
}

ROWS = {
    "header": (
        "name,ring_time\nbob,9",
        'people.csv:1: expected a header with username and services, each once, found "n',
    ),
    "no service": ("username\nbob", "people.csv:1: expected a header with username and services"),
    "columns": ("username,ring_time\nbob", "people.csv:2: expected 2 columns (username,ring_time), found 1"),
    "name": ("username,ring_time\nb b,9", 'people.csv:2: username = "b b": expected a user such as "bob" or "bob@exam'),
    "domain": ("username,domain,ring_time\nbob,-,9", 'people.csv:2: domain = "-": expected a host name or address'),
    "value": (
        "username,ring_time\namy,9\nbob,long",
        'people.csv:3: ring_time = "long": expected a number from 1 to 180, in seconds',
    ),
    "flag": ("username,do_not_disturb\nbob,maybe", 'people.csv:2: do_not_disturb = "maybe": expected true or false'),
    "himself": (
        "username,forward_busy\nbob,bob",
        'people.csv:2: forward_busy = "sip:bob@example.com": bob@example.com would',
    ),
    "twice": (
        "username,ring_time\nbob,9\nbob@example.com,9",
        "people.csv:3: bob@example.com is already in people.csv:2",
    ),
    "quotes": ('username,ring_time\nbob,"9', "people.csv:2: not CSV:"),
    "json": ('{"bob": {"ring_time": }}', "people.csv:1: not JSON:"),
    "json value": ('{"bob": {"ring_time": "x"}}', 'people.csv: ring_time = "x": expected a number from 1 to 180'),
    "json shape": ('{"bob": 7}', "people.csv: bob = 7: expected an object of services"),
    "json lines": ('{"aor": "a", "ring_time": 9}\n{"aor": "b", "ring": 9}', "people.csv:2: ring: unknown key"),
    "json without a name": ('[{"ring_time": 9}]', 'people.csv: {"ring_time": 9}: expected an object with "aor" and'),
}


@pytest.mark.parametrize("text, message", MISTAKES.values(), ids=MISTAKES)
def test_mistake_is_named(tmp_path: Path, text: str, message: str) -> None:
    lines = wrong(tmp_path, text)
    assert len(lines) == 1 and message in lines[0], lines


@pytest.mark.parametrize("rows, message", ROWS.values(), ids=ROWS)
def test_mistake_in_a_file_is_named(tmp_path: Path, rows: str, message: str) -> None:
    (tmp_path / "people.csv").write_text(rows)
    lines = wrong(tmp_path, FILE)
    assert len(lines) == 1 and message in lines[0], lines


def test_file_missing_or_of_another_encoding(tmp_path: Path) -> None:
    (found,) = wrong(tmp_path, FILE)
    assert found.startswith('fastsip.toml:4: services.file = "people.csv": cannot read ')
    assert found.endswith("people.csv: No such file or directory")
    (tmp_path / "people.csv").write_bytes(b"username,ring_time\nb\xf6b,9\n")
    assert wrong(tmp_path, FILE) == ["people.csv: not UTF-8 text"]


def test_what_is_hardly_meant_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "fastsip.toml").write_text(
        FILE + '[gateways.a]\nuri = "sip:192.0.2.7"\n[[routes]]\nregex = "room-.*"\ngateways = "a"\n'
        '[users.amy]\npassword = "x"\nforward_busy = "bobb"\nforward_no_answer = "bob"\n'
        'find_me = [["amy", "sip:x@home.example.net"], ["sip:nobody@example.com:5070", "room-7", "100"]]\n'
        '[users."cat@example.org"]\nring_time = 9\n'
    )
    rows = ["username,forward_always", "bob,amy", "dan,tel:+1972555", "eve,sip:Amy@example.com"]
    (tmp_path / "people.csv").write_text("\n".join(rows))
    told = [str(problem).replace(f"{tmp_path}/", "") for problem in load(tmp_path / "fastsip.toml").warnings]
    nobody = "nobody here is called so, unless by `ctl users add` or the policy"
    assert told == [
        f'fastsip.toml:12: warning: users.amy.forward_busy = "sip:bobb@example.com": {nobody}',
        f'fastsip.toml:14: warning: users.amy.find_me = "sip:nobody@example.com:5070": {nobody}',
        "fastsip.toml:15: warning: users.cat@example.org: cat@example.org does not live here (example.com): nothing "
        "asks for these services",
        f'people.csv:4: warning: forward_always = "sip:Amy@example.com": {nobody}',
    ]
    done = subprocess.run(
        [sys.executable, "-m", "fastsip", "check", str(tmp_path / "fastsip.toml")], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (0, "", 4)
    assert done.stderr.startswith(f"{tmp_path}/fastsip.toml:12: warning: users.amy.forward_busy = ")


def test_where_anybody_may_register_anybody_may_be_forwarded_to(tmp_path: Path) -> None:
    (tmp_path / "fastsip.toml").write_text('[auth]\nrequired = []\n[users.amy]\nforward_busy = "bob"\n')
    assert load(tmp_path / "fastsip.toml").warnings == ()


def test_tables_and_file_together(tmp_path: Path) -> None:
    (tmp_path / "fastsip.toml").write_text(
        FILE + '[users.amy]\npassword = "x"\n'
        '[users."bob@example.net"]\nforward_always = "amy"\nfind_me = ["bob@example.net", "tel:+1972555"]\n'
        'block_incoming = "sip:spam*"\nring_time = 12.5\nrefuse_anonymous = true\n'
    )
    (tmp_path / "people.csv").write_text(
        "username,domain,forward_busy,find_me,block_outgoing,do_not_disturb\n"
        "cat,,amy,cat sip:cat@home.example.net;x=y | tel:+1972555,sip:+1900* tel:+1976*,yes\n"
        "dan,example.org,,,,\n"
    )
    served = dict(load(tmp_path / "fastsip.toml").served)
    assert served == {
        "bob@example.net": Record(
            forward_always="sip:amy@example.com",
            find_me=(("sip:bob@example.net", "tel:+1972555"),),
            block_incoming=("sip:spam*",),
            ring_time=12.5,
            refuse_anonymous=True,
        ),
        "cat@example.com": Record(
            forward_busy="sip:amy@example.com",
            find_me=(("sip:cat@example.com", "sip:cat@home.example.net;x=y"), ("tel:+1972555",)),
            block_outgoing=("sip:+1900*", "tel:+1976*"),
            do_not_disturb=True,
        ),
    }


@pytest.mark.parametrize(
    "text",
    [
        '{"bob": {"forward_busy": "amy", "block_incoming": ["*"]}, "eve@example.org": {"ring_time": 9}}',
        '[{"aor": "bob", "from": "store", "forward_busy": "amy", "block_incoming": ["*"]},'
        ' {"aor": "eve@example.org", "ring_time": 9}]',
        '{"aor": "bob", "from": "store", "forward_busy": "amy", "block_incoming": ["*"]}\n'
        '\n{"aor": "eve@example.org", "ring_time": 9}\n',
        "\ufeffusername,forward_busy,ring_time,block_incoming\r\nbob,amy,,*\r\neve@example.org,,9,\r\n",
    ],
    ids=["object", "list", "lines", "csv"],
)
def test_every_kind_of_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "file").write_text(text)
    found, problems = file_services(tmp_path / "file", "example.com", {})
    assert not problems
    assert found == [
        ("bob@example.com", Record(forward_busy="sip:amy@example.com", block_incoming=("*",))),
        ("eve@example.org", Record(ring_time=9)),
    ]


def test_what_a_person_types() -> None:
    assert value_of("find_me", "bob | sip:a@b sip:c@d") == [["bob"], ["sip:a@b", "sip:c@d"]]
    assert value_of("find_me", '[["bob"]]') == [["bob"]]
    assert value_of("block_incoming", "sip:a@* tel:+1900*") == ["sip:a@*", "tel:+1900*"]
    assert value_of("do_not_disturb", "Yes") is True and value_of("do_not_disturb", "perhaps") == "perhaps"
    assert value_of("ring_time", "7.5") == 7.5 and value_of("ring_time", "x") == "x"
    assert value_of("forward_busy", "[") == "["


def test_services_of_somebody_whose_account_is_in_the_users_file(tmp_path):
    """His table has no password; with one he is there twice."""
    (tmp_path / "u.csv").write_text("username,password\nbob,secret\n")
    text = '[server]\ndomains = "example.com"\n[auth]\nusers_file = "u.csv"\n[users.bob]\nforward_busy = "carol"\n'
    (tmp_path / "fastsip.toml").write_text(text)
    configuration = load(tmp_path / "fastsip.toml")
    assert [one.username for one in configuration.accounts] == ["bob"]
    assert [aor for aor, _ in configuration.served] == ["bob@example.com"]
    (tmp_path / "fastsip.toml").write_text(text + 'password = "x"\n')
    with pytest.raises(ConfigurationError, match=r"already in users\.bob"):
        load(tmp_path / "fastsip.toml")
