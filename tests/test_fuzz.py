"""What fuzzing found, once more; and a few seconds of it, on fixed seeds.

1. Each message of the corpus: the parser and the oracle agree, no byte outside is read, the Python face takes it apart.
2. The server under mutated traffic, some episodes of it; `make fuzz` has more of both, under sanitizers.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz import corpus, server
from guard import Guard
from test_message_oracle import compare, compare_call_id

from fastsip import Message, ParseError, parse
from fastsip._message import _exercise

HERE = Path(__file__).parent
CORPUS = corpus.read()


def _take_apart(message: Message) -> None:
    """Every property there is."""
    for name in dir(message):
        if name.startswith("_"):
            continue
        try:
            found = getattr(message, name)
            for one in found if isinstance(found, list) else [found]:
                for part in dir(one):
                    if not part.startswith("_") and not isinstance(one, bytes | str | int | memoryview):
                        getattr(one, part)
                repr(one)
        except ParseError as error:
            assert 0 <= error.offset <= len(message.buffer)


def test_the_corpus_agrees_with_the_oracle() -> None:
    for name, data in CORPUS.items():
        try:
            for framing in (1, 2):
                compare(data, framing)
            compare_call_id(data)
        except AssertionError as error:
            raise AssertionError(f"{name}: {data!r}") from error


def test_the_corpus_is_read_within_its_bounds() -> None:
    guard = Guard()
    for data in CORPUS.values():
        for length in (len(data) // 3, len(data) // 2, len(data)):
            _exercise(guard.before_the_end(data[:length]))
        _exercise(guard.from_the_start(data))


def test_the_corpus_is_taken_apart() -> None:
    whole = 0
    for data in CORPUS.values():
        try:
            message = parse(data)
        except ParseError as error:
            assert error.status >= 400 and 0 <= error.offset <= len(data)
            continue
        _take_apart(message)
        whole += 1
    assert whole > 20


def test_the_corpus_does_the_server_no_harm() -> None:
    world = server.World(0)
    try:
        for number, data in enumerate(CORPUS.values()):
            world.do(["send", number % 5, data.decode("latin-1")])
        world.options()
        world.rest()
    finally:
        world.close()


@pytest.mark.parametrize("seed", range(len(server.SETTINGS)))
def test_the_server_under_mutated_traffic(seed: int, tmp_path: Path) -> None:
    """One episode of each kind of settings."""
    file = tmp_path / f"{seed}.trace"
    print(f"once more with: python tests/fuzz/server.py --replay {file}")
    with file.open("w+") as trace:
        server.episode(seed, [], 400, trace)


def test_a_trace_is_the_run_once_more(tmp_path: Path) -> None:
    """The same bytes come out of the engine, so that a crash found once is found again."""
    traces = []
    for number in range(2):
        with (tmp_path / str(number)).open("w+") as trace:
            server.episode(5, [], 150, trace)
            trace.seek(0)
            traces.append(trace.read())
    assert traces[0] == traces[1]
    server.replay([json.loads(line) for line in traces[0].splitlines()])


@pytest.mark.long
@pytest.mark.timeout(2400)
def test_half_an_hour_of_it() -> None:
    """10 minutes of the parser, 20 of the server, under sanitizers."""
    for part, seconds in (("parser", 600), ("server", 1200)):
        command = [sys.executable, str(HERE / "fuzz" / f"{part}.py"), "--seconds", str(seconds)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
