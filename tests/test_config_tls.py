"""Mistakes in the `tls` table: which file cannot be used and why, which certificate is out of date, and what does not
go together."""

from __future__ import annotations

import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest
from certificates import Authority
from cryptography.hazmat.primitives import serialization
from doubles.server import ENVIRONMENT, until
from stream_kit import DOMAIN, StreamServer, options, secure
from test_config import wrong
from tls_kit import Setup

from fastsip._tls import SetupError, TlsContexts
from fastsip.config import load

LISTEN = '[server]\nlisten = ["tls:127.0.0.1:5061"]\n'


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def files(ca: Authority, tmp_path: Path) -> Path:
    """With a certificate and its key, and keys of other kinds, beside the configuration."""
    chain, key = map(Path, ca.sign("example.com"))
    (tmp_path / "c.pem").write_bytes(chain.read_bytes())
    (tmp_path / "k.pem").write_bytes(key.read_bytes())
    (tmp_path / "other.pem").write_bytes(Path(ca.sign("example.net")[1]).read_bytes())
    (tmp_path / "junk.pem").write_text("junk\n")
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    for name, form in (
        ("locked.pem", serialization.PrivateFormat.PKCS8),
        ("old.pem", serialization.PrivateFormat.TraditionalOpenSSL),
    ):
        secret = serialization.BestAvailableEncryption(b"secret")
        (tmp_path / name).write_bytes(private.private_bytes(serialization.Encoding.PEM, form, secret))
    return tmp_path


def pair(certificate: str, key: str) -> str:
    return f'certificate = "{certificate}"\nkey = "{key}"\n'


@pytest.mark.parametrize(
    ("certificate", "key", "what", "text"),
    [
        ("c.pem", "locked.pem", "key", "locked.pem is encrypted: a key without a passphrase is needed"),
        ("c.pem", "old.pem", "key", "old.pem is encrypted: a key without a passphrase is needed"),
        ("c.pem", "junk.pem", "key", "junk.pem is no private key that can be used"),
        ("c.pem", "c.pem", "key", "c.pem is no private key that can be used"),
        ("c.pem", "other.pem", "key", "other.pem is not that of c.pem"),
        ("c.pem", "nowhere.pem", "key", "cannot read nowhere.pem: No such file or directory"),
        ("k.pem", "k.pem", "certificate", "k.pem: no start line"),
    ],
)
def test_a_file_that_cannot_be_used(files: Path, certificate: str, key: str, what: str, text: str) -> None:
    value = key if what == "key" else certificate
    one = f"[tls]\n{pair(certificate, key)}"
    line = 5 if what == "key" else 4
    assert wrong(files, LISTEN + one) == [f'fastsip.toml:{line}: tls.{what} = "{value}": {text}']
    several = f"[tls]\n{pair('c.pem', 'k.pem')}[[tls.certificates]]\n{pair(certificate, key)}"
    line += 3
    assert wrong(files, LISTEN + several) == [f'fastsip.toml:{line}: tls.certificates[0].{what} = "{value}": {text}']


@pytest.mark.parametrize("what", ["pipe.pem", "folder.pem", "/dev/null"])
@pytest.mark.parametrize("key", ["certificate", "key", "ca_file"])
def test_what_is_no_file_is_not_read(files: Path, key: str, what: str) -> None:
    """A pipe into which nobody writes would hold up whoever reads it, for ever."""
    os.mkfifo(files / "pipe.pem")
    (files / "folder.pem").mkdir()
    table = {"certificate": "c.pem", "key": "k.pem", "ca_file": "c.pem", key: what}
    text = f"{LISTEN}[tls]\n" + "".join(f'{name} = "{value}"\n' for name, value in table.items())
    line = 4 + list(table).index(key)
    assert wrong(files, text) == [f'fastsip.toml:{line}: tls.{key} = "{what}": {what} is no file']
    for words in (["check"], ["serve", "--config"]):
        done = subprocess.run(
            [sys.executable, "-m", "fastsip", *words, str(files / "fastsip.toml")],
            capture_output=True, text=True, timeout=10, env=ENVIRONMENT,
        )  # fmt: skip
        assert done.returncode == 2 and done.stderr.endswith(f"{what} is no file\n"), done
    with pytest.raises(SetupError, match="is no file"):
        paths = {name: str(files / value) for name, value in table.items()}
        TlsContexts(Setup([(paths["certificate"], paths["key"])], ca_file=paths["ca_file"]))


def test_nobody_to_believe(files: Path) -> None:
    found = wrong(files, f'{LISTEN}[tls]\n{pair("c.pem", "k.pem")}ca_file = "junk.pem"')
    assert found == ['fastsip.toml:6: tls.ca_file = "junk.pem": junk.pem: no certificate or crl found']


def test_nobody_is_asked_to_come_back_who_proved_nothing(tmp_path: Path) -> None:
    table = "[tls]\nalias = true\nverify_server = "
    assert wrong(tmp_path, f"{table}true") == []
    [found] = wrong(tmp_path, f"{table}false")
    assert found.startswith("fastsip.toml:2: tls.alias = true: expected tls.verify_server = true beside it: ")


def test_certificates_that_others_refuse(ca: Authority, tmp_path: Path) -> None:
    good, old, early = ca.sign("a.example"), ca.sign("b.example", expired=True), ca.sign("c.example", early=True)
    file = tmp_path / "fastsip.toml"
    file.write_text(
        f"{LISTEN}[tls]\n{pair(*old)}[[tls.certificates]]\n{pair(*good)}[[tls.certificates]]\n{pair(*early)}"
    )
    first, second = load(file).warnings
    day, hence = (time.strftime("%Y-%m-%d", time.gmtime(time.time() + days * 86400)) for days in (-1, 1))
    at = r"\d\d:\d\d UTC: others refuse it"
    assert re.fullmatch(rf'{file}:4: warning: tls.certificate = ".*": expired on {day} {at}', str(first))
    where = rf"{file}:10: warning: tls.certificates\[1\].certificate"
    assert re.fullmatch(rf'{where} = ".*": not valid before {hence} {at}', str(second))


def test_an_expired_certificate_is_served_and_the_log_says_so(ca: Authority) -> None:
    chain, key = ca.sign("example.com", expired=True)
    said = "warning: tls.certificate = .*: expired on "
    with StreamServer(ca, {"certificate": chain, "key": key}, workers=1) as server:
        assert len(re.findall(said, server.log)) == 1
        server.ctl("reload")
        assert len(re.findall(said, server.log)) == 2
        with pytest.raises(ssl.SSLCertVerificationError, match="certificate has expired"):
            secure(server)


def test_a_worker_that_begins_has_the_certificates_that_were_accepted(ca: Authority, tmp_path: Path) -> None:
    """Somebody is half through with new ones, or has made a mistake: whoever is replaced meanwhile serves on."""
    chain, key = (shutil.copy(file, tmp_path) for file in ca.sign("example.com"))
    with StreamServer(ca, {"certificate": chain, "key": key}, workers=1, domains=[DOMAIN]) as server:
        Path(key).write_text("junk\n")
        with pytest.raises(AssertionError, match="is no private key that can be used"):
            server.ctl("reload")
        worker = next(pid for pid, kind in server.children().items() if kind == "worker")
        os.kill(worker, signal.SIGKILL)
        until(lambda: worker not in server.children() and "worker" in server.children().values(), 10)
        with secure(server) as alice:
            alice.send(options(alice))
            alice.expect("200")


def test_a_reload_does_not_wait_for_a_pipe(ca: Authority, tmp_path: Path) -> None:
    chain, key = (shutil.copy(file, tmp_path) for file in ca.sign("example.com"))
    with StreamServer(ca, {"certificate": chain, "key": key}, workers=1, domains=[DOMAIN]) as server:
        Path(key).unlink()
        os.mkfifo(key)
        os.kill(server.pid, signal.SIGHUP)
        until(lambda: f"{key} is no file" in server.log, 5)
        assert server.stats()["total"]
        with secure(server) as alice:
            alice.send(options(alice))
            alice.expect("200")


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ('[[tls.certificates]]\ncertificate = "c.pem"', '3: tls.certificates[0]: "key" is missing: a path'),
        ('[tls]\ncertificate = "c.pem"\nkey = 5', "5: tls.key = 5: expected a path"),
        ("[tls]\ncertificates = 5", "4: tls.certificates = 5: expected tables [[tls.certificates]]"),
        ('[tls]\nkey = "k.pem"', "4: tls.key: expected tls.certificate beside it"),
        (
            "[tls]\ncertificates = []",
            "2: server.listen[0]: tls:127.0.0.1:5061 needs a certificate: tls.certificate and tls.key, or "
            "tls.certificates",
        ),
    ],
)
def test_one_mistake_is_one_message(tmp_path: Path, table: str, text: str) -> None:
    """Whoever wrote half a certificate is not told that there is none."""
    assert wrong(tmp_path, LISTEN + table) == [f"fastsip.toml:{text}"]
