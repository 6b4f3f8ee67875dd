"""An extension outside of fastsip, built against a fastsip that was installed from its wheel.

The wheel holds only the compiled layers such an extension may use: building all of them takes minutes, and these are
enough to show that contracts, stubs and C headers are in it and fit.
"""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "fastsip" / "examples" / "cimport"
PUBLIC = ("_layout", "_message", "_timer", "_transaction")


def run(*command: str, cwd: Path, path: Path | None = None) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("FASTSIP", "PYTHON"))}
    env |= {"PYTHONPATH": str(path)} if path else {}
    if "wheel" in command:
        env |= {"FASTSIP_ONLY": ",".join(PUBLIC), "FASTSIP_DEBUG": "1"}  # compiles in less time
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with fastsip as pip installs it from the wheel of this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"
    tree.mkdir()
    for name in ("ext", "fastsip", "setup.py", "pyproject.toml", "README.md", "LICENSE"):
        (tree / name).symlink_to(ROOT / name)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), ".", cwd=tree)
    (wheel,) = folder.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {f"fastsip/{path.name}" for pattern in ("*.pxd", "_*.pyi") for path in (ROOT / "fastsip").glob(pattern)}
    wanted |= {f"fastsip/include/{path.name}" for path in (ROOT / "ext").glob("*.h")} | {"fastsip/py.typed"}
    assert wanted <= names, wanted - names
    target = folder / "installed"
    run(*pip, "install", "--no-deps", "--no-index", "--target", str(target), str(wheel), cwd=folder)
    return target


def build(folder: Path, against: Path) -> None:
    """The example as it is, by its own setup.py."""
    shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True)
    run(sys.executable, "setup.py", "--quiet", "build_ext", "--inplace", cwd=folder, path=against)


def test_the_number_covers_every_public_field_and_constant() -> None:
    generator = runpy.run_path(str(ROOT / "ext" / "gen_layout.py"))
    texts = [(ROOT / "fastsip" / f"{name}.pxd").read_text() for name in ("_message", "_transaction")]
    message, transaction = map(generator["structs"], texts)
    assert message["Slice"] == ["start", "end"] and message["Header"] == ["name", "value", "end", "id", "folded"]
    assert message["Message"][0] == "data" and {"first", "via", "headers"} <= set(message["Message"])
    assert message["Credentials"][:3] == ["username", "realm", "nonce"]
    assert {"send", "on_response", "on_timer"} <= set(transaction["TransactionUser"])
    assert {"request", "acked_tag", "flow"} <= set(transaction["Transaction"])
    assert {"HDR_VIA", "METHOD_INVITE", "NEED_MORE"} <= set(generator["constants"](texts[0]))
    assert {"STATE_CALLING", "TIMER_USER", "MATCH_ABSORBED"} <= set(generator["constants"](texts[1]))
    assert generator["generate"]() == (ROOT / "fastsip" / "_layout.pxd").read_text(), "build again"


@pytest.mark.long
def test_an_extension_outside(installed: Path, tmp_path: Path) -> None:
    build(tmp_path, installed)
    code = (
        "import count, fastsip\n"
        "invite = open('invite.sip', 'rb').read()\n"
        "assert count.routes([invite, b'garbage', invite]) == 6\n"
        "message = fastsip.parse(invite)\n"
        "assert count.branch_of(message).decode() == message.branch\n"
        "print(*count.refuse(invite))\n"
    )
    lines = (
        "INVITE sip:bob@example.com SIP/2.0", "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKoutside", "Call-ID: 1",
        "From: <sip:a@example.com>;tag=a", "To: <sip:bob@example.com>;tag=b", "CSeq: 1 INVITE",
        "Route: <sip:one;lr>, <sip:two;lr>", "Route: <sip:three;lr>", "", "",
    )  # fmt: skip
    (tmp_path / "invite.sip").write_bytes("\r\n".join(lines).encode())
    assert run(sys.executable, "-c", code, cwd=tmp_path, path=installed) == "11 1 1 0\n"

    # The same one against a contract in which a field was put before another.
    contracts = tmp_path / "contracts" / "fastsip"
    shutil.copytree(installed / "fastsip", contracts)
    text = (contracts / "_message.pxd").read_text()
    (contracts / "_message.pxd").write_text(text.replace("    uint16_t header_count", "    uint16_t new, header_count"))
    build(tmp_path / "altered", contracts.parent)
    with pytest.raises(AssertionError, match=r"ImportError: .* another fastsip .* build it again"):
        run(sys.executable, "-c", "import count", cwd=tmp_path / "altered", path=installed)
