"""GitHub workflow commands: lines on standard output that GitHub shows as annotations of a run."""

from __future__ import annotations

from memaudit.reports.outcomes import Effect, Outcome, outcomes
from memaudit.reports.text import one_line
from memaudit.reports.uncovered import uncovered
from memaudit.reports.wording import VERDICTS, headline
from memaudit.types import Report

_COMMANDS = {Effect.BROKEN: "error", Effect.UNDECIDED: "warning", Effect.TOLERATED: "warning"}


def render(report: Report) -> bytes:
    """Return an error for each broken gate, a warning for each undecided, waived or failed control, and the verdict.

    The worst come first: GitHub shows ten errors and ten warnings of a step.

    Source: GitHub's documentation, "Workflow commands"; what is escaped, actions/toolkit, core/src/command.ts.
    """
    lines = [_annotation(_COMMANDS[o.effect], o) for o in outcomes(report) if o.effect in _COMMANDS]
    lines += [
        f"::warning title=Privacy audit%3A {label}::{_data(one_line(words, 1000))}"
        for label, words in uncovered(report)
    ]
    verdict = VERDICTS[report.verdict]
    lines.append(f"::notice title={_property(f'Privacy audit: {verdict.label}')}::{_data(headline(report))}")
    return "".join(f"{line}\n" for line in lines).encode()


def _annotation(command: str, outcome: Outcome) -> str:
    properties = {"title": f"Privacy audit: {outcome.label}, {outcome.title}"}
    if outcome.path is not None:
        properties = {"file": outcome.path, "line": str(outcome.line)} | properties
    return f"::{command} {','.join(f'{k}={_property(v)}' for k, v in properties.items())}::{_data(outcome.message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
