"""What fuzzed commands have in common: how they are called, and where something is changed."""

import io
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import pytest

from memaudit.cli import main

SECONDS = 20  # of the processor


def call(*arguments: object) -> tuple[int, str, str]:
    """Returns the exit code of a command line and what it says on standard output and error: no traceback, in time."""
    out, err = io.StringIO(), io.StringIO()
    began = time.process_time()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    assert time.process_time() - began < SECONDS
    told, said = out.getvalue(), err.getvalue()
    assert isinstance(end.value.code, int)
    assert "internal error" not in told + said, said
    assert "\x1b" not in told + said
    assert len(said) < 20_000
    return end.value.code, told, said


def places(node: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields all places of a JSON document, of long lists the first two entries."""
    if way:
        yield way
    entries = node.items() if isinstance(node, dict) else enumerate(node[:2]) if isinstance(node, list) else ()
    for key, value in entries:
        yield from places(value, (*way, key))
