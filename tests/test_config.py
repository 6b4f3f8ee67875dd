"""A newcomer's mistakes: every message names file, line, key, value and what is allowed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fastsip.auth import ha1_md5, ha1_sha256
from fastsip.config import ConfigurationError, Overrides, load
from fastsip.config import setup as conversion
from fastsip.launch import DnsSetup, GatewayAddress


def wrong(tmp_path: Path, text: str, users: str | None = None) -> list[str]:
    """The lines that a configuration is refused with, the directory left out; empty if it is fine."""
    path = tmp_path / "fastsip.toml"
    path.write_text(text)
    if users is not None:
        (tmp_path / "users.csv").write_text(users)
    try:
        load(path)
    except ConfigurationError as error:
        return str(error).replace(f"{tmp_path}/", "").split("\n")
    return []


GATEWAY = '[gateways.a]\nuri = "sip:192.0.2.7"\n[[routes]]\n'

# One key alone: what is written, and what the message must say.
MISTAKES = {
    "workers too few": (
        "[server]\nworkers = 0",
        "fastsip.toml:2: server.workers = 0: expected a whole number from 1 to 64",
    ),
    "workers no number": ('[server]\nworkers = "4"', 'server.workers = "4": expected a whole number from 1 to 64'),
    "flag": ('[server]\nrecord_route = "yes"', 'fastsip.toml:2: server.record_route = "yes": expected true or false'),
    "transport": (
        '[server]\nlisten = ["upd:127.0.0.1:5060"]',
        'fastsip.toml:2: server.listen[0] = "upd:127.0.0.1:5060": expected an address such as "udp:192.0.2.1:5060"',
    ),
    "listen name": ('[server]\nlisten = "udp:localhost:5060"', 'server.listen[0] = "udp:localhost:5060": expected'),
    "listen port": ('[server]\nlisten = "udp:127.0.0.1:70000"', "the host as numbers"),
    "listen number": ("[server]\nlisten = 5060", "server.listen[0] = 5060: expected an address"),
    "listen empty": ("[server]\nlisten = []", "server.listen = []: expected a list, each item an address"),
    "listen table": (
        '[server]\nlisten = [{ bind = "udp:127.0.0.1:5060", advertize = "192.0.2.1" }]',
        'or a table { bind = "udp:10.0.0.5:5060", advertise = "203.0.113.9" }',
    ),
    "listen role": (
        '[server]\nlisten = [{ bind = "udp:127.0.0.1:5060", role = "redirect" }]',
        'fastsip.toml:2: server.listen[0].role = "redirect": expected "proxy" or "stateless"',
    ),
    "advertise": (
        '[server]\nlisten = ["udp:127.0.0.1:5060", { bind = "udp:[::1]:5060", advertise = "2001:db8::1" }]',
        'fastsip.toml:2: server.listen[1].advertise = "2001:db8::1": expected an address or a name others reach this '
        'server at, with or without a port, such as "203.0.113.9", "sip.example.com" or "[2001:db8::9]:5060", IPv6 in '
        "brackets",
    ),
    "advertise port": (
        '[[server.listen]]\nbind = "udp:127.0.0.1:5060"\nadvertise = "192.0.2.1:0"',
        'fastsip.toml:3: server.listen[0].advertise = "192.0.2.1:0": expected an address or a name',
    ),
    "advertise number": (
        '[server]\nlisten = { bind = "udp:127.0.0.1:5060", advertise = 5060 }',
        "fastsip.toml:2: server.listen[0].advertise = 5060: expected an address or a name",
    ),
    "name server": (
        '[dns]\nservers = "ns.example.com"',
        'fastsip.toml:2: dns.servers[0] = "ns.example.com": expected the address of a name server, such as',
    ),
    "name server port": ('[dns]\nservers = ["192.0.2.53:0"]', 'dns.servers[0] = "192.0.2.53:0": expected the address'),
    "dns timeout": ("[dns]\ntimeout = 0", "dns.timeout = 0: expected a number from 0.1 to 30, in seconds"),
    "dns family": ('[dns]\nprefer = "v6"', 'dns.prefer = "v6": expected "ipv4" or "ipv6"'),
    "dns cache": ("[dns]\ncache = 1", "dns.cache = 1: expected a whole number from 100 to 10000000, answers"),
    "dns key": ("[dns]\nttl = 5", "dns.ttl: unknown key"),
    "dns flag": ("[dns]\nnaptr = 1", "dns.naptr = 1: expected true or false"),
    "dns times": (
        "[dns]\nmin_ttl = 60\nmax_ttl = 30",
        "fastsip.toml:2: dns.min_ttl = 60: expected at most dns.max_ttl (30)",
    ),
    "role": (
        '[server]\ndomains = "example.com"\n[domains."example.com"]\nrole = "registrar"',
        'fastsip.toml:4: domains.example.com.role = "registrar": expected "proxy", "redirect" or "stateless"',
    ),
    "role of somebody else's domain": (
        '[server]\ndomains = ["example.com"]\n[domains."example.net"]\nrole = "redirect"',
        "fastsip.toml:3: domains.example.net: not one of server.domains (example.com), so nothing would come to it",
    ),
    "role of no domain": ('[domains."a b"]', "domains.a b: not one of server.domains (there are none)"),
    "listen twice": (
        '[server]\nlisten = ["udp:127.0.0.1:5060", "udp:127.0.0.1"]',
        "server.listen[1]: udp:127.0.0.1:5060 is already in the list",
    ),
    "domain with port": (
        '[server]\ndomains = ["example.com:5060"]',
        'server.domains[0] = "example.com:5060": expected a host name or address without a port',
    ),
    "misspelt key": (
        "[server]\nworkrs = 4",
        'fastsip.toml:2: server.workrs: unknown key; did you mean "workers"? (known: listen, workers,',
    ),
    "misspelt table": ("[sever]\nworkers = 4", 'fastsip.toml:1: sever: unknown table; did you mean "server"? (known:'),
    "unknown table": ("[sctp]\nport = 1", "fastsip.toml:1: sctp: unknown table (known: server, state,"),
    "not a table": ("server = 1", "fastsip.toml:1: server = 1: expected a table"),
    "drain": (
        "[server]\ndrain_timeout = -1",
        "server.drain_timeout = -1: expected a number from 0 to 3600, in seconds",
    ),
    "udp_max": ("[server]\nudp_max = 70000", "server.udp_max = 70000: expected a whole number from 0 to 65507"),
    "store path": ('[state]\npath = ""', 'state.path = "": expected a path, or ":memory:" to keep nothing'),
    "method": (
        '[auth]\nrequired = ["INVITE", "invite"]',
        'auth.required[1] = "invite": expected "*" or methods in upper',
    ),
    "never challenged": ('[auth]\nrequired = ["ACK"]', "ACK and CANCEL are never challenged"),
    "algorithm": ('[auth]\nalgorithms = ["SHA1"]', 'auth.algorithms[0] = "SHA1": expected "SHA-256" and "MD5", or one'),
    "network": (
        '[auth]\ntrusted = ["10.0.0.1/8"]',
        'fastsip.toml:2: auth.trusted[0] = "10.0.0.1/8": expected an address or a network, such as',
    ),
    "expires": (
        "[registrar]\nmin_expires = 100\nmax_expires = 90",
        "fastsip.toml:2: registrar.min_expires = 100: expected at most registrar.max_expires (90)",
    ),
    "contacts": (
        "[registrar]\nmax_contacts = 1000",
        "registrar.max_contacts = 1000: expected a whole number from 1 to 100",
    ),
    "user name": ('[users."b ob"]\npassword = "x"', 'fastsip.toml:1: users.b ob: expected a user such as "bob"'),
    "user twice": (
        '[server]\ndomains = "example.com"\n[users.bob]\npassword = "x"\n[users."bob@example.com"]\npassword = "y"',
        "fastsip.toml:5: users.bob@example.com: the same user as users.bob: bob@example.com",
    ),
    "user no table": ('[users]\nbob = "secret"', "fastsip.toml:2: users.bob"),
    "timers": ("[timers]\nt1 = 5\nt2 = 4", "timers.t1 = 5: expected at most timers.t2 (4)"),
    "limits": ("[limits]\ntransactions = 1", "limits.transactions = 1: expected a whole number from 100 to 16000000"),
    "log": ('[log]\nlevel = "loud"', 'log.level = "loud": expected "debug", "info", "warning" or "error"'),
    "gateway without": (
        "[gateways.gw1]\nweight = 1",
        'fastsip.toml:1: gateways.gw1: "uri" is missing: a SIP URI such as',
    ),
    "gateway by name that is trusted": (
        '[gateways.a]\nuri = "sip:gw1.example.com"\ntrusted = true',
        'fastsip.toml:2: gateways.a.uri = "sip:gw1.example.com": expected an address in place of "gw1.example.com", '
        'such as "sip:192.0.2.7:5060", with trusted = true: whom to trust has to be known by address',
    ),
    "gateway uri": (
        '[gateways.gw1]\nuri = "gw1"',
        'gateways.gw1.uri = "gw1": expected a SIP URI such as "sip:bob@example.com"',
    ),
    "route gateway": (
        '[gateways.a]\nuri = "sip:192.0.2.7"\n[[routes]]\nprefix = "+1"\ngateways = ["a", "b"]',
        'fastsip.toml:5: routes[0].gateways: no gateway is called "b" (there are: a)',
    ),
    "route twice": (
        '[[routes]]\nprefix = "1"\ndomain = "example.com"\ngateways = "a"',
        "fastsip.toml:1: routes[0]: expected exactly one of prefix, regex and domain, found 2",
    ),
    "route mistake in a group": (
        GATEWAY + 'prefix = "+1"\ngateways = [["a"], []]',
        "routes[0].gateways: a group names no gateway",
    ),
    "route prefix": (
        GATEWAY + 'prefix = "bob"\ngateways = "a"',
        'routes[0].prefix = "bob": expected digits such as "+1',
    ),
    "route add": (
        GATEWAY + 'prefix = "1"\nadd = "0;1"\ngateways = "a"',
        'routes[0].add = "0;1": expected digits to put',
    ),
    "route strip": (
        GATEWAY + 'prefix = "1"\nstrip = -1\ngateways = "a"',
        "routes[0].strip = -1: expected a whole number",
    ),
    "route prefix twice": (
        GATEWAY + 'prefix = "+1"\ngateways = "a"\n[[routes]]\nprefix = "+1"\ngateways = "a"',
        'fastsip.toml:7: routes[1].prefix = "+1": the same as routes[0]',
    ),
    "route own domain": (
        '[server]\ndomains = "example.com"\n' + GATEWAY + 'domain = "Example.com"\ngateways = "a"',
        "fastsip.toml:6: routes[0].domain = \"example.com\": expected somebody else's: this is one of server.domains",
    ),
    "route domain and digits": (
        GATEWAY + 'domain = "example.net"\nshortest = 7\ngateways = "a"',
        "fastsip.toml:5: routes[0].shortest: is about numbers: it does not go together with domain",
    ),
    "gateway here": (
        '[server]\ndomains = "192.0.2.7"\n[gateways.a]\nuri = "sip:192.0.2.7:5070"',
        'gateways.a.uri = "sip:192.0.2.7:5070": expected another host: this is one of server.domains',
    ),
    "gateway is this server": (
        '[gateways.a]\nuri = "sip:127.0.0.1"',
        'gateways.a.uri = "sip:127.0.0.1": expected another address: this server listens there',
    ),
    "gateway by tcp": (
        '[gateways.a]\nuri = "sip:192.0.2.7;transport=tcp"',
        'fastsip.toml:2: gateways.a.uri = "sip:192.0.2.7;transport=tcp": nothing is sent by tcp here: expected '
        'transport=udp or "tcp:127.0.0.1:5060" in server.listen',
    ),
    "gateway by tls": (
        '[gateways.a]\nuri = "sips:gw.example.net"',
        'gateways.a.uri = "sips:gw.example.net": nothing is sent by tls here: expected "tls:127.0.0.1:5061" in '
        "server.listen",
    ),
    "gateway by udp": (
        '[server]\nlisten = "tcp:127.0.0.1:5060"\n[gateways.a]\nuri = "sip:192.0.2.7"',
        'nothing is sent by udp here: expected transport=tcp or "udp:127.0.0.1:5060" in server.listen',
    ),
    "gateway by nothing that is sent": (
        '[server]\nlisten = "ws:127.0.0.1:8080"\n[gateways.a]\nuri = "sip:gw.example.net"',
        'nothing is sent by udp or tcp or tls here: expected "udp:127.0.0.1:5060" in server.listen',
    ),
    "gateway by websocket": (
        '[gateways.a]\nuri = "sip:192.0.2.7;transport=WSS"',
        'gateways.a.uri = "sip:192.0.2.7;transport=WSS": expected transport=udp, tcp or tls: nobody connects to the ',
    ),
    "gateway by sctp": ('[gateways.a]\nuri = "sip:192.0.2.7;transport=sctp"', "expected transport=udp, tcp or tls"),
    "gateway sips by udp": (
        '[gateways.a]\nuri = "sips:192.0.2.7;transport=udp"',
        "expected transport=tls, or none: what is asked for by sips does not go by udp",
    ),
    "gateway is this server by tcp": (
        '[server]\nlisten = ["tcp:127.0.0.1:5061"]\n[gateways.a]\nuri = "sip:127.0.0.1:5061;transport=tcp"',
        "expected another address: this server listens there",
    ),
    "gateway number": ('[gateways.a]\nuri = "tel:+1972"', "a number is what a gateway is asked for"),
    "gateway calls": (
        '[gateways.a]\nuri = "sip:192.0.2.7"\ncalls = -1',
        "gateways.a.calls = -1: expected a whole number",
    ),
    "route that backtracks": (
        GATEWAY + 'regex = "(1+)+"\ngateways = "a"',
        'fastsip.toml:4: routes[0].regex = "(1+)+": it could be tried in more than a million ways on a name of 64 '
        "characters: write no repeat inside a repeat",
    ),
    "gateway twice": (
        GATEWAY + 'prefix = "1"\ngateways = [["a"], ["a", "a"]]',
        'fastsip.toml:5: routes[0].gateways: "a" is in a group twice: its weight says how much it gets',
    ),
    "route regex": ('[[routes]]\nregex = "("\ngateways = "a"', 'routes[0].regex = "(": expected a regular expression'),
    "policy": ('[policy]\nmodule = "my routing"', 'policy.module = "my routing": expected a Python module\'s name'),
    "policy nowhere": (
        '[policy]\nmodule = "my_nowhere.routing"',
        'fastsip.toml:2: policy.module = "my_nowhere.routing": there is no module my_nowhere.routing: No module named',
    ),
    "policy timeout": ("[policy]\ntimeout = 0", "policy.timeout = 0: expected a number from 0.1 to 60, in seconds"),
    "policy waiting": ("[policy]\nwaiting = 0", "policy.waiting = 0: expected a whole number from 1 to 1000000"),
    "exposed": (
        '[server]\nlisten = "udp:0.0.0.0:5060"',
        "auth.required: anyone who reaches udp:0.0.0.0:5060 could register and call as anyone",
    ),
    "user of no domain": (
        '[server]\nlisten = "udp:[::]:5060"\n[users.bob]\npassword = "x"',
        'server.domains: "bob" belongs to the first domain, and there is none: name it, or write bob@ADDRESS',
    ),
}

ROWS = {
    "header": ("name,password\nbob,x", "users.csv:1: expected the header username,password[,domain] or username,ha1,"),
    "empty file": ("", "users.csv:1: expected the header"),
    "columns": ("username,password\nbob", "users.csv:2: expected 2 columns (username,password), found 1"),
    "no password": ("username,password\nalice,x\nbob,", "users.csv:3: bob has an empty password"),
    "name": ("username,password\nb@b,x", 'users.csv:2: username = "b@b": expected a name without blanks, ":" or "@"'),
    "domain": ("username,password,domain\nbob,x,-", 'users.csv:2: domain = "-": expected a host name'),
    "twice": ("username,password\nbob,x\nbob,y", "users.csv:3: bob@example.com is already in users.csv:2"),
    "in a table too": ("username,password\ncarol,x", "users.csv:2: carol@example.com is already in users.carol"),
    "hash": (
        "username,ha1,ha1_sha256\nbob,abc,",
        "users.csv:2: ha1 of bob: expected 32 hexadecimal digits, or nothing",
    ),
    "no hash": ("username,ha1,ha1_sha256\nbob,,", "users.csv:2: bob has neither ha1 nor ha1_sha256"),
    "quotes": ('username,password\nbob,"x', "users.csv:2: not CSV:"),
}
WITH_FILE = '[server]\ndomains = "example.com"\n[auth]\nusers_file = "users.csv"\n[users.carol]\npassword = "geheim"\n'


@pytest.mark.parametrize("text, message", MISTAKES.values(), ids=MISTAKES)
def test_mistake_is_named(tmp_path, text, message):
    lines = wrong(tmp_path, text)
    assert [line for line in lines if message in line], lines
    assert all(line.startswith("fastsip.toml") for line in lines)


@pytest.mark.parametrize("rows, message", ROWS.values(), ids=ROWS)
def test_users_file_row_is_named(tmp_path, rows, message):
    lines = wrong(tmp_path, WITH_FILE, rows)
    assert len(lines) == 1 and message in lines[0], lines


def test_users_file_missing(tmp_path):
    (found,) = wrong(tmp_path, WITH_FILE)
    assert found.startswith('fastsip.toml:4: auth.users_file = "users.csv": cannot read ')
    assert found.endswith("users.csv: No such file or directory")
    os.mkfifo(tmp_path / "users.csv")
    (found,) = wrong(tmp_path, WITH_FILE)
    assert found.endswith("users.csv: it is no file")


def test_all_mistakes_at_once_in_the_order_of_the_file(tmp_path):
    lines = wrong(tmp_path, '[server]\nworkers = 0\nudp_max = -1\n\n[log]\nlevel = 1\nformat = "xml"\n[nope]\n')
    assert [int(line.split(":")[1]) for line in lines] == [2, 3, 6, 7, 8]


def test_toml_mistake_has_line_column_and_source(tmp_path):
    (line,) = wrong(tmp_path, "[server]\nworkers 4\n")
    assert line.startswith("fastsip.toml:2: not TOML: expected '='") and line.endswith("workers 4")


def test_unquoted_user_is_explained(tmp_path):
    lines = wrong(tmp_path, "[users.bob@example.com]\npassword = 'x'\n")
    assert lines[1] == '  a name with "@" needs quotes: [users."bob@example.com"]'


def test_secret_is_never_repeated(tmp_path):
    text = '[users.bob]\npassword = ["hunter2"]\nnope = 1\n[users.carol]\npassword = "hunter2"\n'
    assert "hunter2" not in "".join(wrong(tmp_path, text))
    (tmp_path / "fine.toml").write_text('[users.carol]\npassword = "hunter2"\n')
    assert "hunter2" not in repr(load(tmp_path / "fine.toml"))


def test_defaults_without_a_configuration():
    configuration = load(None)
    assert [str(listen) for listen in configuration.tables.server.listen] == ["udp:127.0.0.1:5060"]
    assert configuration.tables.server.workers == min(len(os.sched_getaffinity(0)), 16)
    assert (configuration.store, configuration.required, configuration.default_domain) == (":memory:", (), "127.0.0.1")
    settings = conversion.settings(configuration, configuration.tables.server.listen)
    assert settings.open_relay and settings.listen == [("127.0.0.1", 5060)]


def test_required_defaults_to_all_methods_when_users_are_named(tmp_path):
    path = tmp_path / "fastsip.toml"
    for text, required in (
        ("", ()),
        ('[users.bob]\npassword = "x"', ("*",)),
        ('[users.bob]\npassword = "x"\n[auth]\nrequired = []', ()),
        ('[auth]\nrequired = "REGISTER"', ("REGISTER",)),
    ):
        path.write_text(text)
        configuration = load(path)
        assert configuration.required == required
        assert conversion.settings(configuration, configuration.tables.server.listen).open_relay == (not required)


def test_policy_module_lies_beside_the_configuration(tmp_path):
    path = tmp_path / "fastsip.toml"
    path.write_text('[policy]\nmodule = "my_checked"\ntimeout = 2.5\nwaiting = 7\n')
    module = tmp_path / "my_checked.py"
    for code, asks, methods in (
        ("def route(r): ...\n", ["requests"], ["*"]),
        ("METHODS = ['INVITE', 'MESSAGE']\nasync def route(r): ...\n", ["requests"], ["INVITE", "MESSAGE"]),
        ("def route(r): ...\ndef on_response(r): ...\n", ["requests", "responses"], ["*"]),
        ("def on_response(r): ...\n", ["responses"], ["*"]),
    ):
        module.write_text(code)
        configuration = load(path)
        settings = conversion.settings(configuration, configuration.tables.server.listen)
        assert (settings.asks, settings.ask_methods) == (asks, methods)
        assert (settings.policy_timeout, settings.policy_waiting) == (2500, 7)
        policy = conversion.policy(configuration, configuration.tables.server.listen, [])
        assert (policy.module, policy.folder, policy.domains) == ("my_checked", str(tmp_path), ["127.0.0.1"])
    module.write_text("def route(): ...\n")
    with pytest.raises(ConfigurationError, match=r"my_checked\.py:1: route\(\): expected route\(request\)"):
        load(path)
    assert load(path, modules=False).probed.face.route is False


def test_overrides_stand_above_the_file(tmp_path):
    path = tmp_path / "fastsip.toml"
    path.write_text('[server]\nworkers = 3\ndomains = "example.com"\n')
    configuration = load(path, Overrides(("udp:127.0.0.2:5070",), 2, ("example.net", "example.org")))
    assert [str(listen) for listen in configuration.tables.server.listen] == ["udp:127.0.0.2:5070"]
    assert (configuration.tables.server.workers, configuration.default_domain) == (2, "example.net")


def test_accounts_are_hashed_for_the_realm_they_will_be_asked_in(tmp_path):
    path = tmp_path / "fastsip.toml"
    (tmp_path / "users.csv").write_text(
        "username,ha1,ha1_sha256,domain\n"
        f"dave,{'A' * 32},,example.net\n"
        f"erin,,{'b' * 64},\n"
    )  # fmt: skip
    path.write_text(WITH_FILE)
    accounts = {account.username: account for account in load(path).accounts}
    assert accounts["carol"].ha1_md5 == ha1_md5("carol", "example.com", "geheim")
    assert accounts["carol"].ha1_sha256 == ha1_sha256("carol", "example.com", "geheim")
    assert accounts["dave"] == ("dave", "example.net", "a" * 32, "")
    assert accounts["erin"] == ("erin", "example.com", "", "b" * 64)
    path.write_text(WITH_FILE.replace("[auth]", '[auth]\nrealm = "phones"'))
    assert load(path).accounts[0].ha1_md5 == ha1_md5("carol", "phones", "geheim")


def test_passwords_in_a_users_file_with_quotes_and_a_byte_order_mark(tmp_path):
    (tmp_path / "users.csv").write_bytes('\ufeffusername,password\r\nbob,"a,""b"\r\n\r\n'.encode())
    (tmp_path / "fastsip.toml").write_text(WITH_FILE)
    bob = load(tmp_path / "fastsip.toml").accounts[1]
    assert bob.ha1_md5 == ha1_md5("bob", "example.com", 'a,"b')


@pytest.mark.parametrize(
    "listen, host, public, domain",
    [
        ('"udp:[2001:DB8::1]:5070"', "2001:db8::1", ("2001:db8::1", 5070), "[2001:db8::1]"),
        ('"udp:192.0.2.1"', "192.0.2.1", ("192.0.2.1", 5060), "192.0.2.1"),
        ('{ bind = "udp:0.0.0.0:5070", advertise = "192.0.2.9" }', "0.0.0.0", ("192.0.2.9", 5070), "192.0.2.9"),
        ('{ bind = "udp:[::]:5070", advertise = "[2001:db8::9]:5060" }', "::", ("2001:db8::9", 5060), "[2001:db8::9]"),
        ('{ bind = "tcp:0.0.0.0", advertise = "a.example.com" }', "0.0.0.0", ("a.example.com", 5060), "a.example.com"),
        ('{ bind = "tcp:[::]", advertise = "a.example.com:5070" }', "::", ("a.example.com", 5070), "a.example.com"),
    ],
)
def test_listen_addresses(tmp_path, listen, host, public, domain):
    path = tmp_path / "fastsip.toml"
    path.write_text(f"[server]\nlisten = {listen}\n[auth]\nrequired = '*'\n")
    configuration = load(path)
    (found,) = configuration.tables.server.listen
    assert (found.host, found.public, found.wildcard) == (host, public, host in ("0.0.0.0", "::"))
    assert configuration.default_domain == domain


def test_gateways_and_routes_as_processes_are_handed_them(tmp_path):
    (tmp_path / "fastsip.toml").write_text(
        '[server]\ndomains = "example.com"\nlisten = ["udp:127.0.0.1:5060", "tcp:127.0.0.1:5060"]\n'
        '[gateways.gw1]\nuri = "sip:192.0.2.7:5070"\nweight = 30\ncalls = 5\n'
        '[gateways.gw2]\nuri = "sip:[2001:db8::7];transport=tcp"\ntrusted = true\nprobe = 0\ntry_time = 1.5\n'
        '[[routes]]\nprefix = "+1972"\ngateways = ["gw1", "gw2"]\nstrip = 2\nadd = "9"\nshortest = 11\n'
        '[[routes]]\nregex = "7..."\ngateways = [["gw1"], ["gw2"]]\ncontext = "+1-972"\n'
        '[[routes]]\ndomain = "Example.NET"\ngateways = "gw2"\n'
    )
    configuration = load(tmp_path / "fastsip.toml")
    listen = configuration.tables.server.listen
    settings = conversion.settings(configuration, listen, [4, 2])
    assert settings.trusted == []
    assert settings.gateways == [
        GatewayAddress(4, "192.0.2.7", 5070), GatewayAddress(2, "2001:db8::7", 5060, True, "tcp"),
    ]  # fmt: skip
    assert settings.asks == ["numbers", "domains"]
    policy = conversion.policy(configuration, listen, [4, 2])
    assert [(one.name, one.slot, one.weight, one.calls, one.probe, one.try_time) for one in policy.gateways] == [
        ("gw1", 4, 30, 5, 30, 4), ("gw2", 2, 10, 0, 0, 1.5),
    ]  # fmt: skip
    first, second, third = policy.routes
    assert (first.gateways, first.prefix, first.strip, first.add) == ([["gw1", "gw2"]], "+1972", 2, "9")
    assert (first.shortest, first.context) == (11, None)
    assert (second.gateways, second.regex, second.context) == ([["gw1"], ["gw2"]], "7...", "+1972")
    assert (third.gateways, third.domain) == ([["gw2"]], "example.net")
    assert policy.domains == ["example.com", "127.0.0.1"]


def test_a_changed_listen_workers_or_state_needs_a_restart(tmp_path):
    running = load(None)
    (tmp_path / "fastsip.toml").write_text('[server]\nworkers = 64\nlisten = "udp:127.0.0.1:5070"\n')
    assert conversion.needs_restart(running, load(tmp_path / "fastsip.toml")) == [
        "server.listen", "server.workers", "state.path",
    ]  # fmt: skip
    assert conversion.needs_restart(running, load(None)) == []


def fastsip(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "fastsip", *arguments], capture_output=True, text=True, timeout=30)


def test_check_says_nothing_when_nothing_is_wrong(tmp_path):
    (tmp_path / "fastsip.toml").write_text('[users.bob]\npassword = "x"\n')
    done = fastsip("check", str(tmp_path / "fastsip.toml"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_check_warns_of_services_that_a_stateless_server_does_not_look_at(tmp_path):
    path = tmp_path / "fastsip.toml"
    path.write_text(
        '[server]\ndomains = ["example.com", "example.net"]\n'
        'listen = ["udp:127.0.0.1:5060", { bind = "udp:127.0.0.1:5061", role = "stateless" }]\n'
        '[domains."example.net"]\nrole = "stateless"\n[users.amy]\npassword = "x"\nring_time = 20\n'
        '[users."bob@example.net"]\nblock_incoming = "sip:spammer@*"\n[services]\nfile = "people.csv"\n'
    )
    (tmp_path / "people.csv").write_text("username,domain,ring_time\ncarol,example.net,20\n")
    done = fastsip("check", str(path))
    first, second = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (0, "")
    assert first == (
        f'{path}:5: warning: domains.example.net.role = "stateless": services and block lists of people there are '
        "not applied (bob@example.net and 1 more)"
    )
    assert second.startswith(f"{path}:3: warning: server.listen[1] = ")
    path.write_text(path.read_text().replace("example.net", "example.org").replace(', role = "stateless"', ""))
    (tmp_path / "people.csv").write_text("username,domain,ring_time\ncarol,example.com,20\n")
    assert "bob@example.org)" in fastsip("check", str(path)).stderr


def test_exit_code_is_2_for_a_wrong_configuration_and_for_wrong_usage(tmp_path):
    path = tmp_path / "fastsip.toml"
    path.write_text("[server]\nworkers = 0\ncontrol = 0\n")
    for arguments in (
        ("check", str(path)), ("serve", "--config", str(path)), ("ctl", "--config", str(path), "stats"),
        ("check", str(tmp_path / "none.toml")), ("serve", "--listen", "5060"), ("serve", "--workers", "0"),
        ("serve", "--listen", "udp:0.0.0.0:5060"), ("check",), ("frobnicate",),
    ):  # fmt: skip
        done = fastsip(*arguments)
        assert done.returncode == 2, (arguments, done)
        assert done.stderr and "Traceback" not in done.stderr


def test_help_and_version():
    assert re.fullmatch(r"fastsip \d+\.\d+\.\d+\n", fastsip("--version").stdout)
    text = fastsip("--help").stdout
    assert all(word in text for word in ("serve", "check", "demo", "load", "ctl"))


def test_roles(tmp_path: Path) -> None:
    path = tmp_path / "fastsip.toml"
    path.write_text(
        '[server]\nlisten = ["udp:127.0.0.1:5060", { bind = "udp:127.0.0.1:5070", role = "stateless" }]\n'
        'domains = ["example.com", "Example.NET", "example.org"]\n'
        '[domains."EXAMPLE.net"]\nrole = "redirect"\n[domains."example.org"]\nrole = "proxy"\n'
    )
    configuration = load(path)
    settings = conversion.settings(configuration, configuration.tables.server.listen)
    assert settings.roles == {"example.net": "redirect"} and settings.stateless == [1]
    path.write_text('[server]\nlisten = ["udp:127.0.0.1:5060", "udp:127.0.0.1:5070"]\n')
    assert "server.listen" not in conversion.needs_restart(configuration, load(path)), "a role needs no restart"


def test_the_dns_table(tmp_path: Path) -> None:
    path = tmp_path / "fastsip.toml"
    path.write_text(
        '[dns]\nservers = ["192.0.2.53", "192.0.2.54:5353", "2001:db8::53", "[2001:db8::54]:5353"]\ntimeout = 1.5\n'
        'prefer = "ipv6"\nnaptr = false\ncache = 500\nmin_ttl = 5\nmax_ttl = 600\nnegative_ttl = 20\nstale = 0\n'
    )
    assert conversion.dns(load(path)) == DnsSetup(
        servers=["192.0.2.53:53", "192.0.2.54:5353", "[2001:db8::53]:53", "[2001:db8::54]:5353"],
        timeout=1.5,
        prefer="ipv6",
        naptr=False,
        cache=500,
        min_ttl=5,
        max_ttl=600,
        negative_ttl=20,
        stale=0,
    )
    assert conversion.dns(load(None)) == DnsSetup()
