"""`memaudit gate report.json`: re-evaluate a report, in seconds and without the model."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import click

from memaudit import reports
from memaudit.auditing import folder
from memaudit.auditing.checked import Checked, check_ledger, check_model, check_signature
from memaudit.cli import outputs, results, terminal
from memaudit.cli import settings as toml
from memaudit.errors import SettingsError
from memaudit.policy import exit_code, hold
from memaudit.policy.consistency import contradictions, rules
from memaudit.reports.text import one_line
from memaudit.reports.uncovered import uncovered
from memaudit.reports.wording import compared
from memaudit.types import ASKED_ATTACKS, Limit, Report, Result, Skipped, Verdict, Waived, word

_path = click.Path(path_type=Path)


@click.command()
@click.argument("report", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--config", type=_path, help="Settings; by default the nearest memaudit.toml.")
@click.option(
    "--require-signature",
    "public",
    metavar="PUB",
    type=_path,
    multiple=True,
    help="Public key that must have signed the audit; of several, one.",
)
@click.option("--model", type=_path, help="The released model; the report must be about it.")
@click.option("--ledger", type=_path, help="Ledger of audits, which must contain this one.")
@click.option("--allow-other-limits", is_flag=True, help="With a signature: limits need not be those of the audit.")
@click.option("-v", "--sentences", is_flag=True, help="Print every limit as a sentence, not as a table.")
@click.option("--exit-zero", is_flag=True, help="Exit 0 for every verdict; 2 on errors.")
@click.option("--out", multiple=True, help=f"The report with the new verdict: {outputs.HELP}")
def command(
    report: Path,
    config: Path | None,
    public: tuple[Path, ...],
    model: Path | None,
    ledger: Path | None,
    allow_other_limits: bool,
    sentences: bool,
    exit_zero: bool,
    out: tuple[str, ...],
) -> int:
    """Re-evaluate a report.json against the limits of memaudit.toml; needs no bank, model or torch.

    The same limits give the same verdict as in the audit. A report that contradicts itself, or its digest, is refused.
    With --require-signature, so is one that was not signed with that key, or was made under other limits; with --model,
    one about another model. What was verified, and what was not, is printed.

    Exits 0 if every limit is kept, waived, or only warned about, 1 if one is broken, 3 if inconclusive, 2 on an error
    or if no limit is set.
    """
    file, settings = _settings(config)
    limits = settings.limits()
    named, paths = outputs.parse(out)
    loaded = reports.load(report)
    checked = Checked(problems=[*folder.beside(report), *contradictions(loaded)])
    if public or report.with_name(folder.SIGNATURE).exists():
        check_signature(checked, loaded, report, public)
    if model is not None:
        check_model(checked, loaded, model)
    if ledger is not None:
        check_ledger(checked, loaded, ledger)
    other = _other_limits(loaded, limits)
    if public and other and not allow_other_limits:
        checked.problems.append(f"{other} (--allow-other-limits)")
    checked.require(f"{report} is refused:")
    judged = hold(loaded, limits, settings.waivers())
    code = exit_code(judged)
    taken = outputs.write(judged, [*named, *map(outputs.by_suffix, paths)])
    unchecked = _unchecked(loaded, public, model, ledger)
    held = [_worst(judged, limit) for limit in limits]
    if not sentences:
        stream = sys.stderr if taken else sys.stdout
        rows = [results.row(item, f"(worst of {count})" if count > 1 else "") for item, count in held]
        click.echo("\n".join([*terminal.table(results.COLUMNS, rows, stream), ""]), err=taken)
    told = (
        *_reasons(held, sentences),
        *uncovered(judged),
        *(("waiver", _waiver(waived)) for waived in judged.waivers),
        *_about(report, loaded, file),
        *_verified(loaded, checked, other),
    )
    entries = [(label, one_line(text, 2000)) for label, text in (*told, ("not checked", unchecked)) if text]
    for line in results.wrapped(entries, stream=sys.stderr if taken else sys.stdout):
        click.echo(line, err=taken)
    click.echo(f"{word(judged.verdict)}: exit code {code}{' (not used: --exit-zero)' if exit_zero else ''}", err=taken)
    return 0 if exit_zero else code


def _settings(config: Path | None) -> tuple[Path, toml.Settings]:
    file = config or toml.find(Path.cwd())
    if file is None:
        raise SettingsError("no limits: there is no memaudit.toml here or above. Name one with --config")
    settings = toml.read(file)
    if not settings.gate:
        raise SettingsError(f"{file} sets no limit. Add a [[gate]] table")
    return file, settings


def _other_limits(report: Report, limits: Sequence[Limit]) -> str:
    """Return how the limits differ from those that the audit had, in words; empty if they do not."""
    before, now = (
        {replace(limit, id="", source=None, line=None): None for limit in some} for some in (rules(report), limits)
    )
    if not before:
        return "the audit had no limits"
    gone = [f"without {_rule(limit)}" for limit in before if limit not in now]
    new = [f"with {_rule(limit)}" for limit in now if limit not in before]
    return f"the limits are not those of the audit: {'; '.join([*gone, *new])}" if gone or new else ""


def _rule(limit: Limit) -> str:
    said = [f"max {limit.max!r}", f"confidence {limit.confidence!r}", f"on_inconclusive {limit.on_inconclusive}"]
    return f"{limit} ({', '.join([*said, *([] if limit.required else ['not required'])])})"


def _about(path: Path, report: Report, file: Path) -> Iterator[tuple[str, str]]:
    """Yield the report, its limits, and its controls."""
    subject = report.subject
    yield (
        "report",
        f"{path}: {subject.model} (SHA-256 {subject.sha256}), audited {report.created} on {subject.members:,} "
        f"members and {subject.nonmembers:,} non-members with {compared(report)} (rung {report.rung:d})",
    )
    yield "limits", str(file)
    states = {True: "passed", False: "failed", None: "not run"}
    codes = {said: [c.code for c in report.controls if c.passed is state] for state, said in states.items()}
    yield "controls", "; ".join(f"{said}: {', '.join(own)}" for said, own in codes.items() if own)


def _verified(report: Report, checked: Checked, other: str) -> Iterator[tuple[str, str]]:
    yield "attempt", str(report.attempt)
    yield "other limits", other
    for told in checked.told:
        yield "checked", told


def _unchecked(report: Report, public: Sequence[Path], model: Path | None, ledger: Path | None) -> str:
    """Return what was not verified, with the option that does; a pass says nothing about it."""
    open_questions = {
        "who made the report (--require-signature)": not public,
        "which model is released (--model)": model is None,
        "how often it was audited (--ledger)": ledger is None,
        "whether results are missing (a report of memaudit 0.1.0 does not say)": ASKED_ATTACKS not in report.provenance,
    }
    return ", ".join(question for question, is_open in open_questions.items() if is_open)


def _worst(report: Report, limit: Limit) -> tuple[Result | Skipped, int]:
    """Return the worst of the results that a limit covers, and how many there are."""
    held: list[Result | Skipped] = [r for r in report.results if r.limit == limit]
    held += [s for s in report.skipped if s.limit == limit]
    return min(held, key=lambda item: list(Verdict).index(item.verdict)), len(held)


def _reasons(held: Sequence[tuple[Result | Skipped, int]], passed: bool) -> Iterator[tuple[str, str]]:
    """Yield a label and the reason for each limit's worst result; for one that passes only if asked for."""
    for item, count in held:
        if passed or item.verdict is not Verdict.PASS:
            limit = item.limit
            assert limit is not None
            which = f"worst of {count}, {item.finding.title}: " if isinstance(item, Result) and count > 1 else ""
            yield _label(item), f"{limit.name} ({limit}): {which}{item.reason}"


def _label(item: Result | Skipped) -> str:
    if isinstance(item, Result) and item.waiver is not None:
        return "fail (waived)"
    return "not run" if item.verdict is Verdict.NOTED else item.verdict.value


def _waiver(waived: Waived) -> str:
    waiver = waived.waiver
    return (
        f"{waiver.gate}, for model {waiver.subject[:12]}…, up to {waiver.cap:g}, until "
        f"{waiver.expires}, owner {waiver.owner}, approved by {waiver.approved_by}: {waived.state}"
    )
