"""`memaudit gate report.json`: the decision once more, in seconds and without the model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from memaudit import reports
from memaudit.cli import outputs
from memaudit.cli import settings as toml
from memaudit.errors import SettingsError
from memaudit.policy import exit_code, hold
from memaudit.reports.text import one_line
from memaudit.reports.uncovered import uncovered
from memaudit.types import Limit, Report, Result, Skipped, Verdict, Waived


@click.command(short_help="Holds a finished report against the limits again.")
@click.argument("report", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--config", type=click.Path(path_type=Path), help="Settings; by default the nearest memaudit.toml.")
@click.option("--exit-zero", is_flag=True, help="Exit 0 whatever the verdict, but 2 on an error.")
@click.option("--out", multiple=True, help=f"The report with the new verdict: {outputs.HELP}")
def command(report: Path, config: Path | None, exit_zero: bool, out: tuple[str, ...]) -> int:
    """Holds a finished report.json against the limits of memaudit.toml; needs no bank, model or torch.

    The same limits give the same verdict as in the audit. Exits 0 if every limit is kept, waived, or only warned about,
    1 if one is broken, 3 if it cannot be told, 2 on an error, and also if no limit is set.
    """
    file = config or toml.find(Path.cwd())
    if file is None:
        raise SettingsError("there are no limits: no memaudit.toml here or above; --config names one")
    settings = toml.read(file)
    limits = settings.limits()
    if not limits:
        raise SettingsError(f"{file} sets no limit; a table [[gate]] does")
    named, paths = outputs.parse(out)
    judged = hold(reports.load(report), limits, settings.waivers())
    code = exit_code(judged)
    taken = outputs.write(judged, [*named, *map(outputs.by_suffix, paths)])
    for label, text in _told(judged, limits):
        click.echo(f"{label:<14}{one_line(text, 2000)}", err=taken)
    click.echo(f"{judged.verdict}: exit code {code}{' (not used: --exit-zero)' if exit_zero else ''}", err=taken)
    return 0 if exit_zero else code


def _told(report: Report, limits: tuple[Limit, ...]) -> Iterator[tuple[str, str]]:
    """Yields a label and a line for each limit, by the worst that was held against it, and for each waiver."""
    for limit in limits:
        held: list[Result | Skipped] = [r for r in report.results if r.limit == limit]
        held += [s for s in report.skipped if s.limit == limit]
        worst = min(held, key=lambda item: list(Verdict).index(item.verdict))
        which = f"the worst of {len(held)}, {worst.finding.title}: " if isinstance(worst, Result) and held[1:] else ""
        yield _label(worst), f"{limit.name} ({limit}): {which}{worst.reason}"
    for words in uncovered(report):
        yield "above a limit", words
    for waived in report.waivers:
        yield "waiver", _waiver(waived)


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
