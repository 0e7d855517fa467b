"""Standard output and error that take every character, and whose loss does not change what a command decides."""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from memaudit.errors import MemauditError

_HANDLER = "memaudit.plain"
_NARROWEST, _GAP = 16, 2  # characters: the least width of a table's first column, and the space between two
_STYLES = {"FAIL": "bold red", "regression": "bold red", "INCONCLUSIVE": "yellow", "undecided": "yellow"}
_STYLES |= {"PASS": "green", "no regression": "green"}
_PLAIN = {
    "≤": "<=", "≥": ">=", "→": "->", "←": "<-", "↔": "<->", "−": "-", "–": "-", "—": "-", "…": "...", "×": "x",
    "±": "+/-",
    "‘": "'", "’": "'", "“": '"', "”": '"', "‹": "<", "›": ">", "·": "*", "•": "*", "✓": "v", "✗": "x", "√": "sqrt",
    "∞": "inf", "\N{NO-BREAK SPACE}": " ", "\N{NARROW NO-BREAK SPACE}": " ", "ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss",
    "φ": "phi", "α": "alpha", "ε": "epsilon", "σ": "sigma", "μ": "mu", "⌈": "ceil(", "⌉": ")", "²": "^2", "³": "^3",
    "½": "1/2", "§": "section ",
}  # fmt: skip


class _Stream(io.TextIOWrapper):
    """A text stream in which a character that its encoding lacks is spelled out.

    `real` is the encoding. `lost` is the first error that kept something from being written: the rest goes nowhere.
    """

    def __init__(self, buffer: Any, encoding: str, **options: Any):
        # click writes UTF-8 to a stream that says it is ASCII; what is ASCII looks the same in Latin-1.
        self.real = encoding
        super().__init__(buffer, "latin-1" if codecs.lookup(encoding).name == "ascii" else encoding, **options)
        self.lost: OSError | None = None

    def write(self, text: str, /) -> int:
        try:
            return super().write(text.encode(self.real, _HANDLER).decode(self.real))
        except OSError as error:
            self._lose(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        self.lost = self.lost or error
        self.drop()

    def drop(self) -> None:
        """Send what is still to come, and what is left in buffers, to nowhere: Python ends with 120 otherwise."""
        with contextlib.suppress(OSError), Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), self.fileno())


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Run a command with standard streams that never raise for what is printed; also for processes that it starts."""
    before, setting = (sys.stdout, sys.stderr), os.environ.get("PYTHONIOENCODING")
    for number in range(3):  # one that is closed would be the next file that is opened
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout, sys.stderr = (_wrapped(stream, number) for number, stream in enumerate(before, 1))
    os.environ["PYTHONIOENCODING"] = f"{(setting or '').partition(':')[0]}:backslashreplace"
    try:
        yield
    finally:
        lost = sys.stdout.lost if isinstance(sys.stdout, _Stream) else None
        if lost is not None and lost.errno not in (errno.EPIPE, errno.EBADF):  # the reader has closed the pipe
            click.echo(f"memaudit: standard output cannot be written: {lost.strerror}", err=True)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, _Stream):
                stream.flush()
                stream.detach()
        sys.stdout, sys.stderr = before
        os.environ.pop("PYTHONIOENCODING")
        if setting is not None:
            os.environ["PYTHONIOENCODING"] = setting


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], stream: Any) -> list[str]:
    """Return the lines of a table that fits a stream's encoding and the terminal's width.

    The first column is folded where it is too wide. No other cell is folded or cut: a table that does not fit is wider
    than the terminal. The last column is coloured by verdict, unless NO_COLOR is set; click removes the colours where
    the stream is no terminal.
    """
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    encoding = getattr(stream, "real", None) or getattr(stream, "encoding", None) or "utf-8"
    plain = [[cell.encode(encoding, _HANDLER).decode(encoding) for cell in row] for row in (columns, *rows)]
    whole = sum(max(map(cell_len, cells)) + _GAP for cells in list(zip(*plain, strict=True))[1:])
    width = max(shutil.get_terminal_size((120, 24)).columns, _NARROWEST + _GAP + whole)
    grid = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for place, column in enumerate(plain[0]):
        grid.add_column(column, no_wrap=place > 0, overflow="fold")
    for row in plain[1:]:
        cells = [Text(cell) for cell in row]
        cells[-1].stylize(_STYLES.get(row[-1].partition(",")[0], ""))
        grid.add_row(*cells)
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=True,
        color_system=None if "NO_COLOR" in os.environ else "standard",
        legacy_windows=False,
    )
    with console.capture() as captured:
        console.print(grid)
    return [line.rstrip() for line in captured.get().splitlines()]


def deliver(content: bytes | str) -> None:
    """Write what a command is there to print: bytes as they are, text with what the terminal lacks spelled out.

    Raises:
        MemauditError: It cannot be written.
        SystemExit: The reader has stopped reading, and knows.
    """
    stream = sys.stdout
    try:
        if isinstance(content, bytes):
            stream.flush()
            stream.buffer.write(content)
            stream.buffer.flush()
        else:
            click.echo(content)
        if isinstance(stream, _Stream) and stream.lost is not None:
            error, stream.lost = stream.lost, None
            raise error
    except OSError as error:
        if isinstance(stream, _Stream):
            stream.drop()
        if error.errno == errno.EPIPE:
            raise SystemExit(2) from error
        raise MemauditError(f"standard output cannot be written: {error.strerror}") from error


def _wrapped(stream: Any, number: int) -> Any:
    """Return the stream with a guard around it; one that was closed goes nowhere, one without bytes stays."""
    if stream is None:
        closed = _Stream(open(number, "wb", closefd=False), "utf-8")  # noqa: SIM115
        closed.lost = OSError(errno.EBADF, os.strerror(errno.EBADF))
        return closed
    if isinstance(stream, _Stream) or not hasattr(stream, "buffer"):
        return stream
    with contextlib.suppress(OSError):
        stream.flush()
    return _Stream(stream.buffer, stream.encoding or "utf-8", line_buffering=getattr(stream, "line_buffering", False))


def _plain(error: UnicodeError) -> tuple[str, int]:
    """Spell out what an encoding lacks: in plain letters where everybody understands them, else as an escape."""
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    return "".join(_PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in lacking), error.end


codecs.register_error(_HANDLER, _plain)


def duration(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
