"""A user's module: loaded anew each time, and refused with file, function and what is expected."""

from __future__ import annotations

import os
import shutil
import sys
import types
from pathlib import Path

import pytest

import fastsip
from fastsip.policy.module import ModuleProblem, load, look_over
from fastsip.policy.probe import probed
from fastsip.policy.sources import is_own, own_root

WRONG = {
    "nothing": ("x = 1\n", "my_wrong.py: expected a function route(request) that returns a Plan or None"),
    "no argument": ("def route():\n    pass\n", "my_wrong.py:1: route(): expected route(request)"),
    "two arguments": ("def route(a, b):\n    pass\n", "my_wrong.py:1: route(a, b): expected route(request)"),
    "class": ("class route:\n    pass\n", "expected route(request)"),
    "no function": ("route = 5\n", "my_wrong.py: route is 5: expected route(request)"),
    "generator": ("\ndef route(request):\n    yield 1\n", "my_wrong.py:2: route yields: expected route(request) that"),
    "async generator": ("async def route(request):\n    yield 1\n", "my_wrong.py:1: route yields"),
    "on_failure": (
        "def route(request):\n    pass\ndef on_failure(request):\n    pass\n",
        "my_wrong.py:3: on_failure(request): expected on_failure(request, responses)",
    ),
    "on_failure alone": ("def on_failure(r, s): ...\ndef on_response(r): ...\n", "on_failure without route"),
    "on_response waits": (
        "async def on_response(response):\n    pass\n",
        "my_wrong.py:1: on_response only looks: expected def, found async def",
    ),
    "methods as text": ("METHODS = 'INVITE'\ndef route(r):\n    pass\n", "METHODS: expected a tuple of methods"),
    "method in lower case": ("METHODS = ('invite',)\ndef route(r):\n    pass\n", "found 'invite' in it"),
    "method never asked": ("METHODS = ('CANCEL',)\ndef route(r):\n    pass\n", "no policy is asked about CANCEL"),
    "syntax": ("def route(request)\n    pass\n", "my_wrong.py:1: SyntaxError: expected ':'"),
    "import": ("import nowhere_at_all\n", "my_wrong.py:1: ModuleNotFoundError: No module named 'nowhere_at_all'"),
    "exit": ("import sys\nsys.exit(3)\n", "my_wrong.py:2: SystemExit: 3"),
    "error": ("\n\n1 / 0\n", "my_wrong.py:3: ZeroDivisionError: division by zero"),
}


@pytest.mark.parametrize("text, message", WRONG.values(), ids=WRONG)
def test_mistake_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "my_wrong.py").write_text(text)
    with pytest.raises(ModuleProblem) as caught:
        load("my_wrong", str(tmp_path))
    assert message in str(caught.value), caught.value
    assert "my_wrong" not in sys.modules


def test_no_such_module(tmp_path: Path) -> None:
    with pytest.raises(ModuleProblem, match=f"there is no module nowhere_at_all in {tmp_path}"):
        load("nowhere_at_all", str(tmp_path))
    with pytest.raises(ModuleProblem, match=r"there is no module nowhere_at_all\.inside: No module named"):
        load("nowhere_at_all.inside", str(tmp_path))


def test_each_load_is_new_with_all_its_folder(tmp_path: Path) -> None:
    (tmp_path / "my_fresh.py").write_text("import my_beside, json\ndef route(request):\n    return my_beside\n")
    (tmp_path / "my_beside.py").write_text("import json\nVALUE = object()\n")
    first = load("my_fresh", str(tmp_path))
    second = load("my_fresh", str(tmp_path))
    assert first.route and second.route
    mine, other = first.route(None), second.route(None)
    assert mine is not other and mine.VALUE is not other.VALUE  # type: ignore[union-attr]
    assert mine.json is other.json  # type: ignore[union-attr]


def test_failed_load_leaves_the_old_one_in_place(tmp_path: Path) -> None:
    (tmp_path / "my_kept.py").write_text("import my_kept_beside\ndef route(request):\n    pass\n")
    (tmp_path / "my_kept_beside.py").write_text("")
    load("my_kept", str(tmp_path))
    before = sys.modules["my_kept"], sys.modules["my_kept_beside"]
    (tmp_path / "my_kept.py").write_text("import my_kept_beside\n1 / 0\n")
    with pytest.raises(ModuleProblem):
        load("my_kept", str(tmp_path))
    assert (sys.modules["my_kept"], sys.modules["my_kept_beside"]) == before


def test_what_a_program_imported_itself_stays_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own.py").write_text("def route(request):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    import my_own  # type: ignore[import-not-found]

    load("my_own", str(tmp_path))
    load("my_own", str(tmp_path))
    assert sys.modules["my_own"] is my_own


def test_module_in_a_package(tmp_path: Path) -> None:
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "rates.py").write_text("RATE = 5\n")
    (package / "routing.py").write_text("from .rates import RATE\ndef route(request):\n    return RATE\n")
    found = load("my_package.routing", str(tmp_path))
    assert found.route and found.route(None) == 5  # type: ignore[comparison-overlap]
    (package / "rates.py").write_text("RATE = 1000\n")
    found = load("my_package.routing", str(tmp_path))
    assert found.route and found.route(None) == 1000  # type: ignore[comparison-overlap]


def test_dataclasses_and_annotations_find_their_module(tmp_path: Path) -> None:
    code = """from __future__ import annotations
import dataclasses, typing
@dataclasses.dataclass
class Rate:
    price: float
    only: dataclasses.KW_ONLY
    gateway: str = ""
def route(request: str) -> Rate | None:
    return typing.get_type_hints(route)["return"]
"""
    (tmp_path / "my_data.py").write_text(code)
    found = load("my_data", str(tmp_path))
    assert found.route and "Rate" in str(found.route(None))


def test_anything_with_such_attributes_will_do() -> None:
    made = types.SimpleNamespace(route=lambda request: None, METHODS={"INVITE", "OPTIONS"})
    assert look_over(made).face.methods == ("INVITE", "OPTIONS")


def test_face_is_found_in_a_process_of_its_own(tmp_path: Path) -> None:
    code = "print('hello')\nMETHODS = ['MESSAGE']\ndef route(r):\n    pass\ndef on_response(r):\n    pass\n"
    (tmp_path / "my_face.py").write_text(code)
    found = probed("my_face", str(tmp_path)).face
    assert (found.route, found.responses, found.methods) == (True, True, ("MESSAGE",))
    assert "my_face" not in sys.modules


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os\nos._exit(7)\n", r"my_end ends the process that loads it \(code 7\)"),
        ("import os\nos.kill(os.getpid(), 9)\n", r"my_end ends the process that loads it \(signal 9\)"),
        ("import time\ntime.sleep(60)\n", "my_end does not load in 1 s"),
        ("def route(): pass\n", r"my_end.py:1: route\(\): expected route\(request\)"),
    ],
)
def test_face_of_a_module_that_ends_it_all(tmp_path: Path, code: str, message: str) -> None:
    (tmp_path / "my_end.py").write_text(code)
    with pytest.raises(ModuleProblem, match=message):
        probed("my_end", str(tmp_path), patience=1)


# --- what was looked over is what runs ---


def test_sources_are_loaded_whatever_is_on_the_disk(tmp_path: Path) -> None:
    (tmp_path / "my_held.py").write_text("from my_held_beside import VALUE\ndef route(request):\n    return VALUE\n")
    (tmp_path / "my_held_beside.py").write_text("VALUE = 1\n")
    sources = probed("my_held", str(tmp_path)).sources
    assert [each.name for each in sources] == ["my_held", "my_held_beside"]
    (tmp_path / "my_held.py").unlink()
    (tmp_path / "my_held_beside.py").write_text("import os\nos._exit(3)\n")
    for _ in range(2):
        held = load("my_held", str(tmp_path), sources)
        assert held.route and held.route(None) == 1  # type: ignore[comparison-overlap]
        assert held.sources == sources
    with pytest.raises(ModuleProblem, match="there is no module my_held"):
        load("my_held", str(tmp_path))


def test_sources_of_a_package(tmp_path: Path) -> None:
    package = tmp_path / "my_held_package"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text("RATE = 5\n")
    (package / "deep" / "__init__.py").write_text("from .. import RATE\n")
    (package / "routing.py").write_text("from .deep import RATE\ndef route(request):\n    return RATE\n")
    sources = probed("my_held_package.routing", str(tmp_path)).sources
    assert {each.name: each.package for each in sources} == {
        "my_held_package.routing": False,
        "my_held_package": True,
        "my_held_package.deep": True,
    }
    for file in package.rglob("*.py"):
        file.write_text("1 / 0\n")
    held = load("my_held_package.routing", str(tmp_path), sources)
    assert held.route and held.route(None) == 5  # type: ignore[comparison-overlap]


def test_what_is_imported_later_is_on_the_disk(tmp_path: Path) -> None:
    (tmp_path / "my_lazy.py").write_text("def route(request):\n    import my_lazy_beside as it\n    return it.VALUE\n")
    sources = probed("my_lazy", str(tmp_path)).sources
    (tmp_path / "my_lazy_beside.py").write_text("VALUE = 7\n")
    lazy = load("my_lazy", str(tmp_path), sources)
    assert lazy.route and lazy.route(None) == 7  # type: ignore[comparison-overlap]


def test_what_was_imported_later_is_loaded_anew_too(tmp_path: Path) -> None:
    lazy = "def route(request):\n    import my_later_package.deep, my_later.deep\n    return my_later.deep.VALUE\n"
    (tmp_path / "my_late.py").write_text(lazy)
    for folder in ("my_later", "my_later_package"):
        (tmp_path / folder).mkdir()
    (tmp_path / "my_later_package" / "__init__.py").write_text("")
    (tmp_path / "my_later_package" / "deep.py").write_text("")
    for value in (1, 22, 333):
        (tmp_path / "my_later" / "deep.py").write_text(f"VALUE = {value}\n")
        late = load("my_late", str(tmp_path))
        assert late.route and late.route(None) == value  # type: ignore[comparison-overlap]
    held = sys.modules["my_later.deep"], sys.modules["my_later"], sys.modules["my_later_package"]
    (tmp_path / "my_late.py").write_text("import my_later.deep\n1 / 0\n")
    with pytest.raises(ModuleProblem):
        load("my_late", str(tmp_path))
    assert held == (sys.modules["my_later.deep"], sys.modules["my_later"], sys.modules["my_later_package"])


def test_installed_code_is_not_the_policys_own(tmp_path: Path) -> None:
    """A virtual environment beside the policy: numpy may not be loaded twice."""
    installed = tmp_path / "venv" / "site-packages"
    installed.mkdir(parents=True)
    (installed / "my_installed.py").write_text("VALUE = object()\n")
    (tmp_path / "my_user.py").write_text(
        f"import sys\nsys.path.append({str(installed)!r})\nimport my_installed\n"
        "def route(request):\n    return my_installed.VALUE\n"
    )
    first, second = load("my_user", str(tmp_path)), load("my_user", str(tmp_path))
    assert [each.name for each in first.sources] == ["my_user"]
    assert first.route and second.route and first.route(None) is second.route(None)
    alone = load("my_installed_policy", str(_installed(installed)))
    assert [each.name for each in alone.sources] == ["my_installed_policy"]


def _installed(folder: Path) -> Path:
    (folder / "my_neighbour.py").write_text("VALUE = object()\n")
    (folder / "my_installed_policy.py").write_text("import my_neighbour\ndef route(request):\n    pass\n")
    return folder


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("my_wide", {"my_wide/__init__.py": "from my_wide_beside import VALUE", "my_wide_beside.py": ""}),
        (
            "my_site.routing.policy",
            {
                "my_site/__init__.py": "",
                "my_site/common.py": "",
                "my_site/routing/__init__.py": "",
                "my_site/routing/policy.py": "from my_site.common import VALUE",
            },
        ),
        (
            "my_deep.policy",
            {"my_deep/__init__.py": "", "my_deep/policy.py": "from my_aside import VALUE", "my_aside.py": ""},
        ),
    ],
    ids=["package", "dotted", "beside a package"],
)
def test_all_below_the_configuration_is_its_own(tmp_path: Path, name: str, files: dict[str, str]) -> None:
    def write(value: int) -> None:
        for file, code in files.items():
            path = tmp_path / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{code}\ndef route(request):\n    return VALUE\n" if code else f"VALUE = {value}\n")

    write(1)
    sources = probed(name, str(tmp_path)).sources
    assert len(sources) == len(files)
    for value in (1, 2):
        write(value)
        found = load(name, str(tmp_path))
        assert found.route and found.route(None) == value  # type: ignore[comparison-overlap]
    shutil.rmtree(tmp_path)
    held = load(name, str(tmp_path), sources)
    assert held.route and held.route(None) == 1  # type: ignore[comparison-overlap]


def test_folders_without_init_are_kept(tmp_path: Path) -> None:
    """The module may lie in such a one itself."""
    (tmp_path / "my_rules" / "deep").mkdir(parents=True)
    (tmp_path / "my_rules" / "a.py").write_text("VALUE = 1\n")
    (tmp_path / "my_rules" / "deep" / "b.py").write_text("VALUE = 2\n")
    code = "import my_rules.a, my_rules.deep.b as b\ndef route(request):\n    return my_rules.a.VALUE, b.VALUE\n"
    (tmp_path / "my_ruled.py").write_text(code)
    (tmp_path / "my_rules" / "deep" / "policy.py").write_text(code)
    for name in ("my_ruled", "my_rules.deep.policy"):
        found = load(name, str(tmp_path))
        assert found.route and found.route(None) == (1, 2)  # type: ignore[comparison-overlap]
    kept = {name: probed(name, str(tmp_path)).sources for name in ("my_ruled", "my_rules.deep.policy")}
    assert {each.name for each in kept["my_ruled"] if each.namespace} == {"my_rules", "my_rules.deep"}
    (tmp_path / "my_rules" / "a.py").write_text("VALUE = 3\n")
    found = load("my_ruled", str(tmp_path))
    assert found.route and found.route(None) == (3, 2)  # type: ignore[comparison-overlap]
    shutil.rmtree(tmp_path)
    for name, sources in kept.items():
        for _ in range(2):
            held = load(name, str(tmp_path), sources)
            assert held.route and held.route(None) == (1, 2)  # type: ignore[comparison-overlap]
            assert held.sources == sources


def test_a_folder_without_init_may_be_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What others have in it is found, and is not loaded twice."""
    mine, others = tmp_path / "mine", tmp_path / "site-packages"
    for folder, name in ((mine, "a"), (others, "b")):
        (folder / "my_shared").mkdir(parents=True)
        (folder / "my_shared" / f"{name}.py").write_text("VALUE = object()\n")
    monkeypatch.syspath_prepend(others)
    code = "from my_shared import a, b\ndef route(request):\n    return a.VALUE, b.VALUE\n"
    (mine / "my_sharer.py").write_text(code)
    sources = probed("my_sharer", str(mine)).sources
    assert {each.name for each in sources} == {"my_sharer", "my_shared", "my_shared.a"}
    first = load("my_sharer", str(mine), sources)
    shutil.rmtree(mine)
    second = load("my_sharer", str(mine), sources)
    assert first.route and second.route
    (a, b), (other, same) = first.route(None), second.route(None)  # type: ignore[misc]
    assert a is not other and b is same


def test_what_is_a_policys_own(tmp_path: Path) -> None:
    conf, lib = str(tmp_path / "conf"), str(tmp_path / "lib")
    installed = f"{conf}/venv/lib/python3/site-packages"
    ours, python = str(Path(fastsip.__file__).parent), str(Path(os.__file__).parent)
    for name, file, folder, root in (
        ("pol", f"{conf}/pol.py", conf, conf),
        ("pkg", f"{conf}/pkg/__init__.py", conf, conf),
        ("a.b.pol", f"{conf}/a/b/pol.py", conf, conf),
        ("pol", f"{lib}/pol.py", conf, f"{lib}/pol.py"),
        ("pol", f"{lib}/pol.py", "", lib),
        ("pkg", f"{lib}/pkg/__init__.py", conf, f"{lib}/pkg"),
        ("a.b.pol", f"{lib}/a/b/pol.cpython-311-x86_64-linux-gnu.so", conf, f"{lib}/a"),
        ("a.b.pol", f"{lib}/elsewhere/pol.py", conf, f"{lib}/elsewhere/pol.py"),
        ("pol", f"{installed}/pol.py", conf, f"{installed}/pol.py"),
        ("a.pol", f"{installed}/a/pol.py", conf, f"{installed}/a"),
        ("a.pol", f"{python}/site-packages/a/pol.py", conf, f"{python}/site-packages/a"),
        ("fastsip.examples.pol", f"{ours}/examples/pol.py", str(Path(ours).parent), f"{ours}/examples/pol.py"),
        ("pol", "", conf, ""),
    ):
        assert own_root(name, file, folder) == root, (name, file)
        assert is_own(file, root) == bool(root)
    assert is_own(f"{conf}/deep/down/helper.py", conf)
    for file, root in (
        (f"{lib}/helper.py", conf),
        (f"{installed}/numpy/__init__.py", conf),
        (f"{ours}/policy/plan.py", str(Path(ours).parent)),
        (f"{python}/json/__init__.py", str(Path(python).parent)),
        (None, conf),
    ):
        assert not is_own(file, root), file


def test_a_file_is_read_whatever_its_compiled_file_says(tmp_path: Path) -> None:
    """Two edits of one second and one size: Python's own loader would take the compiled file of the first."""
    (tmp_path / "my_quick.py").write_text("from my_quick_beside import VALUE\ndef route(request):\n    return VALUE\n")
    beside = tmp_path / "my_quick_beside.py"
    for value in (1, 2, 3):
        beside.write_text(f"VALUE = {value}\n")
        os.utime(beside, (1_000_000_000, 1_000_000_000))
        quick = load("my_quick", str(tmp_path))
        assert quick.route and quick.route(None) == value  # type: ignore[comparison-overlap]
