"""Hooks of the whole suite: peers that are missing, flows that are played together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from harness import Flow, House, Played, Stage, peers
from harness import report as figures
from harness.endings import Endings
from harness.stage import LONG


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--through",
        choices=("fastsip", "kamailio"),
        default="fastsip",
        help="server the flows are played through; kamailio tells a wrong test from a wrong server",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "flow(Flow, ...): call flows; what came of each is the `played` fixture")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with the mark `flow(Flow, ...)` runs for each of these and each house the flow asks for."""
    mark = metafunc.definition.get_closest_marker("flow")
    if not mark:
        return
    found = []
    for flow in mark.args:
        for house in flow.houses():
            name = f"{'one' if house.hops == 1 else 'two'}-{house.workers}w"
            name += f"-{house.transport}" if house.transport != "udp" else ""
            marks = [pytest.mark.long, pytest.mark.timeout(LONG + 20)] if flow.long else []
            found.append(pytest.param(flow, house, id=f"{flow.name}-{name}".strip("-"), marks=marks))
    metafunc.parametrize(("flow", "house"), found)


def _share(item: pytest.Item) -> pytest.MarkDecorator | None:
    """How a test may share the machine. Whole servers under load, where SIPp's clock or ours decides, run one after
    another with nothing beside them; files with servers of their own share a process; the rest goes anywhere."""
    name = item.path.name
    alone = ("test_lossy.py", "test_faults.py", "test_server.py", "test_policy_server.py", "test_next_hops_served.py")
    if name.startswith("test_flows") or name in alone:
        return pytest.mark.alone
    if name.startswith("test_proxy") or item.path.parent.name == "transaction":
        return None
    return pytest.mark.xdist_group(name)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    peers.leave_out(items)
    for item in items:
        if mark := _share(item):
            item.add_marker(mark)
    if "long" not in (config.getoption("markexpr") or ""):
        long = [item for item in items if item.get_closest_marker("long")]
        if long:
            config.hook.pytest_deselected(items=long)
            items[:] = [item for item in items if not item.get_closest_marker("long")]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if lines := figures.lines():
        terminalreporter.section("measured")
        for line in lines:
            terminalreporter.write_line(line)
    if lines := peers.summary():
        terminalreporter.section("left out")
        for line in lines:
            terminalreporter.write_line(line)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    peers.note(report)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    figures.add(getattr(node, "workeroutput", {}).get("measured", []))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["measured"] = figures.lines()
        return
    if exitstatus == 0 and peers.missing_fails():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """The stage, with every selected flow announced."""
    made = Stage(request.config.getoption("--through"))
    wanted = []
    for item in request.session.items:
        params = getattr(getattr(item, "callspec", None), "params", {})
        if "flow" in params and not item.get_closest_marker("skip"):
            wanted.append((params["house"], params["flow"]))
    made.announce(wanted)
    yield made
    made.close()


@pytest.fixture(scope="module")
def endings() -> Iterator[Endings]:
    """Takes the servers of a module's tests, and looks at its end whether all came to rest."""
    with Endings() as made:
        yield made


@pytest.fixture
def played(stage: Stage, house: House, flow: Flow) -> Played:
    """What both ends saw of the test's flow, in the house of this parameter."""
    return stage.played(house, flow)
