"""The sections of a page that are the same for every audit, or describe how this one was made."""

from __future__ import annotations

from collections.abc import Iterator

from memaudit.reports import standing, text, wording
from memaudit.reports.blocks import Block, Fact, Facts, Grid, Paragraph, Points, Section, listed
from memaudit.reports.glossary import GLOSSARY
from memaudit.reports.regulation import Source, mapping
from memaudit.types import Attempt, Planned, Report, Rung

_LIMITS = 4  # that are named on the first page


def subject(report: Report) -> Iterator[Block]:
    """Yield what the report is about, in short."""
    about, limits = report.subject, _limits(report)
    release = report.context.release
    stated = (
        ("Release", wording.RELEASE[release] if release else "", "release type"),
        ("Auditor", report.context.auditor, "auditor"),
        ("Model owner", report.context.owner, "model owner"),
    )
    missing = ", ".join(what for _, value, what in stated if not value)
    yield Facts(
        facts=(
            Fact(name="Model", value=about.model),
            Fact(name="SHA-256", value=about.sha256, code=True),
            Fact(name=about.unit.capitalize(), value=f"{about.members:,} members, {about.nonmembers:,} non-members"),
            Fact(name="Compared with", value=_compared(report)),
            Fact(name="Limits", value="; ".join(limits) or "none"),
            *(Fact(name=name, value=value) for name, value, _ in stated if value),
            *([Fact(name="Not provided", value=f"{missing} ([report] in memaudit.toml)")] if missing else []),
        )
    )


def _compared(report: Report) -> str:
    made = ", made in the same way" if report.rung is Rung.BANK else ""
    return f"{wording.compared(report)}{made} (rung {report.rung:d}; the highest is 2)"


def _limits(report: Report) -> list[str]:
    held = [result.limit for result in report.results] + [skipped.limit for skipped in report.skipped]
    limits = list(dict.fromkeys(str(limit) for limit in held if limit is not None))
    more = len(limits) - _LIMITS
    return limits if more <= 0 else [*limits[:_LIMITS], f"and {more} more"]


def scope(report: Report) -> Iterator[Block]:
    """Yield the threat model: which kinds of attack were tested, and what they need."""
    yield Paragraph(words="The attacker has the model or may query it without limit.")
    yield Grid(
        title="Kinds of attack",
        columns=("Attack", "Question", "The attacker needs", "In this audit"),
        rows=tuple((a.name, a.question, a.needs, _tried(report, a.codes)) for a in standing.ATTACK_CLASSES),
        right=(False,) * 4,
        note="Tested: by the checks in this report. Other attacks of the same kind may find more.",
    )


def _tried(report: Report, codes: tuple[str, ...]) -> str:
    if any(result.finding.code.startswith(codes) for result in report.results):
        return "tested"
    if any(skipped.code.startswith(codes) for skipped in report.skipped):
        return "could not run"
    return "not tested"


def method(report: Report) -> Iterator[Block]:
    """Yield how the results were computed, in general."""
    shadows = f"{report.subject.shadows:,}"
    first = standing.IMPORTED if "bank.origin" in report.provenance else standing.METHOD[0]
    made = (first, standing.METHOD[1]) if report.rung is Rung.BANK else standing.METHOD_WITHOUT_BANK
    yield from (Paragraph(words=words.replace("{shadows}", shadows)) for words in (*made, *standing.METHOD[2:]))


def limitations(report: Report) -> Iterator[Block]:
    """Yield the audit's limitations."""
    if report.limitations:
        yield listed(report.limitations)
    else:
        yield Paragraph(words=f"The audit lists none. See also “{wording.TITLES['claims']}”.")


def claims(_: Report) -> Iterator[Block]:
    """Yield what must not be read into the report."""
    yield Paragraph(words="Whatever its verdict, this report does not claim:")
    yield Points(points=standing.CLAIMS)


def regulation(_: Report) -> Iterator[Block | Section]:
    """Yield what some rules say, and which parts of the report are evidence for them."""
    found = mapping()
    yield Paragraph(
        words=f"Excerpts of some rules as of {text.day(found.date)} (list version {found.version}), and the related "
        "parts of this report. The list does not state that a rule applies, from when, or that it is met."
    )
    for source in found.sources:
        title = f"{source.name}, {source.adopted}" if source.adopted else source.name
        yield Section(title=title, content=(Facts(facts=tuple(_source(source))),))


def _source(source: Source) -> Iterator[Fact]:
    sections = ", ".join(f"“{wording.TITLES[name]}”" for name in source.sections)
    yield Fact(name="Text", value=source.says)
    yield Fact(name="In this report", value=f"{source.here} See {sections}.")
    yield Fact(name="Not covered", value=source.gap)
    yield Fact(name="Read in", value=source.seen)
    if source.url:
        yield Fact(name="URL", value=source.url, code=True)


def reproduce(report: Report) -> Iterator[Block | Section]:
    """Yield what was audited, and what is needed to reproduce it."""
    subject = report.subject
    again = " With the same recipe and bank, the command below gives the same numbers."
    yield Paragraph(
        words="The JSON file of this report contains every number in it, including the data behind the figures."
        + (again if "command" in report.provenance else "")
    )
    facts = (
        Fact(name="Model", value=subject.model),
        Fact(name="SHA-256", value=subject.sha256, code=True),
        Fact(name="Members", value=wording.sampled(subject.trained_on, subject.members)),
        Fact(name="Non-members", value=wording.sampled(subject.held_out, subject.nonmembers)),
        Fact(name="Shadow models", value=f"{subject.shadows:,}"),
        *([Fact(name="Reference models", value=f"{subject.references:,}")] if subject.references else []),
        Fact(name="Date of the audit", value=text.moment(report.created)),
        Fact(name="Format", value=report.schema),
        *_entry(report.attempt),
        *_plan(report.plan),
    )
    groups = _provenance(report)
    yield Facts(facts=(*facts, *groups.pop("", ())))
    yield from (Section(title=title, content=(Facts(facts=tuple(group)),)) for title, group in groups.items())


def _provenance(report: Report) -> dict[str, list[Fact]]:
    """Return the facts by what they are about, under names without what a group's names have in common."""
    groups: dict[str, list[Fact]] = {}
    for name, value in report.provenance.items():
        prefix = next((prefix for prefix in standing.PROVENANCE if name.startswith(prefix)), "")
        fact = Fact(name=name.removeprefix(prefix).replace("_", " "), value=value, code=True)
        groups.setdefault(standing.PROVENANCE.get(prefix, ""), []).append(fact)
    return groups


def files(_: Report) -> Iterator[Block]:
    """Yield the files of an audit, who may see them, and how to check them."""
    yield Grid(
        title="Files of an audit",
        columns=("File", "Content", "Audience"),
        rows=standing.FILES,
        right=(False,) * 3,
    )
    yield Paragraph(words=standing.FILES_MEAN)


def mitigations(_: Report) -> Iterator[Block]:
    """Yield known mitigations, and what they cost."""
    yield Paragraph(words=standing.MITIGATIONS_FOR)
    yield Grid(
        title="Mitigations",
        columns=("Mitigation", "Effect", "Cost and limits", "Source"),
        rows=standing.MITIGATIONS,
        right=(False,) * 4,
    )


def _entry(attempt: Attempt | None) -> Iterator[Fact]:
    """Yield the audit's place in the ledger: a ledger without these lines is another one, or was reset."""
    if attempt is not None:
        yield Fact(name="Ledger entry", value=attempt.entry, code=True)
        yield from [Fact(name="Previous entry", value=attempt.previous, code=True)] if attempt.previous else []


def _plan(plan: Planned | None) -> tuple[Fact, ...]:
    """Return whether measurements and limits were fixed before there was a result."""
    if plan is None:
        return (Fact(name="Plan", value="none was recorded in the ledger before the audit"),)
    before = f"after {plan.audits_before:,} audits of any model" if plan.audits_before else "before any audit"
    return (
        Fact(name="Plan", value=f"recorded in the ledger on {text.moment(plan.created)}, {before}"),
        Fact(name="SHA-256 of the plan", value=plan.sha256, code=True),
        Fact(name="Ledger entry of the plan", value=plan.entry, code=True),
    )


def signatures(report: Report) -> Iterator[Block]:
    """Yield how the model is released, and who signs: from memaudit.toml, the rest by hand."""
    context = report.context
    yield Paragraph(
        words="Prefilled entries come from memaudit.toml; the audit cannot verify them. Fill in the rest by hand."
    )
    yield Grid(
        title="Release",
        columns=("Release type", "Mark what applies"),
        rows=tuple((words, "[ × ]" if key is context.release else "[    ]") for key, words in wording.RELEASE.items()),
        right=(False, False),
    )
    yield Grid(
        title="Signatures",
        columns=("", "Name and role", "Date", "Signature"),
        rows=tuple((role, name, "", "") for role, name in wording.signatures(context).items()),
        right=(False,) * 4,
        to_fill=True,
    )


def glossary(_: Report) -> Iterator[Block]:
    """Yield what the terms mean."""
    yield Points(points=GLOSSARY)
