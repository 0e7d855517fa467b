"""The sections of a page that hold for every audit, or say how this one was made."""

from __future__ import annotations

from collections.abc import Iterator

from memaudit.reports import standing, text, wording
from memaudit.reports.blocks import Block, Fact, Facts, Grid, Paragraph, Points, Section, listed
from memaudit.reports.glossary import GLOSSARY
from memaudit.reports.regulation import Source, mapping
from memaudit.types import Attempt, Planned, Report, Rung

_LIMITS = 4  # that are named on the first page


def subject(report: Report) -> Iterator[Block]:
    """Yields what the report is about, in short."""
    about, limits = report.subject, _limits(report)
    release = report.context.release
    said = (
        ("Given to others", wording.RELEASE[release] if release else "", "to whom the model is given"),
        ("Made the audit", report.context.auditor, "who made the audit"),
        ("Answers for the model", report.context.owner, "who answers for the model"),
    )
    unsaid = ", ".join(question for _, value, question in said if not value)
    yield Facts(
        facts=(
            Fact(name="Model", value=about.model),
            Fact(name="SHA-256", value=about.sha256, code=True),
            Fact(name="Compared with", value=_compared(report)),
            Fact(name="Limits", value="; ".join(limits) or "none was set"),
            *(Fact(name=name, value=value) for name, value, _ in said if value),
            *([Fact(name="Not said", value=f"{unsaid}: see “{wording.TITLES['signatures']}”")] if unsaid else []),
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
    """Yields who the adversary is, and which kinds of attack were tried."""
    yield Paragraph(words="The adversary has the model, or may ask it as often as he likes, and nobody stops him.")
    yield Grid(
        title="Kinds of attack",
        columns=("Attack", "Question", "The adversary needs", "In this audit"),
        rows=tuple((a.name, a.question, a.needs, _tried(report, a.codes)) for a in standing.ATTACK_CLASSES),
        right=(False,) * 4,
        note="“Tested” means: by the checks that are listed here. Others of the same kind may get further.",
    )


def _tried(report: Report, codes: tuple[str, ...]) -> str:
    if any(result.finding.code.startswith(codes) for result in report.results):
        return "tested"
    if any(skipped.code.startswith(codes) for skipped in report.skipped):
        return "could not be said"
    return "not tested"


def method(report: Report) -> Iterator[Block]:
    """Yields how the numbers were made, in general."""
    shadows = f"{report.subject.shadows:,}"
    first = standing.IMPORTED if "bank.origin" in report.provenance else standing.METHOD[0]
    made = (first, standing.METHOD[1]) if report.rung is Rung.BANK else standing.METHOD_WITHOUT_BANK
    yield from (Paragraph(words=words.replace("{shadows}", shadows)) for words in (*made, *standing.METHOD[2:]))


def limitations(report: Report) -> Iterator[Block]:
    """Yields what the audit says about its own limits."""
    if report.limitations:
        yield listed(report.limitations)
    else:
        yield Paragraph(words="The audit names none beyond the claims that it does not make, which follow.")


def claims(_: Report) -> Iterator[Block]:
    """Yields what must not be read into the report."""
    yield Paragraph(words="Nothing in this report says any of the following, whatever its verdict.")
    yield Points(points=standing.CLAIMS)


def regulation(_: Report) -> Iterator[Block | Section]:
    """Yields what some rules say, and what the report has to do with it."""
    found = mapping()
    yield Paragraph(
        words=f"What some rules say, as it was looked up on {text.day(found.date)} (version {found.version} of this "
        "list), and what this report has to do with it. The list says neither that a rule applies, nor from when, nor "
        "that it is met."
    )
    for source in found.sources:
        title = f"{source.name}, {source.adopted}" if source.adopted else source.name
        yield Section(title=title, content=(Facts(facts=tuple(_source(source))),))


def _source(source: Source) -> Iterator[Fact]:
    sections = ", ".join(f"“{wording.TITLES[name]}”" for name in source.sections)
    yield Fact(name="It says", value=source.says)
    yield Fact(name="In this report", value=f"{source.here} See {sections}.")
    yield Fact(name="Left open", value=source.gap)
    yield Fact(name="Looked up in", value=source.seen)
    if source.url:
        yield Fact(name="Address", value=source.url, code=True)


def reproduce(report: Report) -> Iterator[Block | Section]:
    """Yields what was audited, and what is needed to do the same again."""
    subject = report.subject
    again = " The command below gives the same numbers again, with the same recipe and bank."
    yield Paragraph(
        words="The JSON file of this report holds every number in it, including the data behind the figures."
        + (again if "command" in report.provenance else "")
    )
    facts = (
        Fact(name="Model", value=subject.model),
        Fact(name="SHA-256", value=subject.sha256, code=True),
        Fact(name="Training examples", value=wording.sampled(subject.trained_on, subject.members)),
        Fact(name="Examples held out", value=wording.sampled(subject.held_out, subject.nonmembers)),
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
    """Returns the facts by what they are about, under names without what a group's names have in common."""
    groups: dict[str, list[Fact]] = {}
    for name, value in report.provenance.items():
        prefix = next((prefix for prefix in standing.PROVENANCE if name.startswith(prefix)), "")
        fact = Fact(name=name.removeprefix(prefix).replace("_", " "), value=value, code=True)
        groups.setdefault(standing.PROVENANCE.get(prefix, ""), []).append(fact)
    return groups


def files(_: Report) -> Iterator[Block]:
    """Yields what an audit leaves behind, who may see it, and how to check it."""
    yield Grid(
        title="What an audit writes",
        columns=("File", "What it holds", "For whom"),
        rows=standing.FILES,
        right=(False,) * 3,
    )
    yield Paragraph(words=standing.FILES_MEAN)


def mitigations(_: Report) -> Iterator[Block]:
    """Yields what is known to help, and what it costs."""
    yield Paragraph(words=standing.MITIGATIONS_FOR)
    yield Grid(
        title="Measures",
        columns=("Measure", "What it does", "What it costs, and does not do", "Source"),
        rows=standing.MITIGATIONS,
        right=(False,) * 4,
    )


def _entry(attempt: Attempt | None) -> Iterator[Fact]:
    """Yields where the audit is in the ledger: a ledger that lacks either line is another one, or was taken back."""
    if attempt is not None:
        yield Fact(name="Entry in the ledger", value=attempt.entry, code=True)
        yield from [Fact(name="Entry before it", value=attempt.previous, code=True)] if attempt.previous else []


def _plan(plan: Planned | None) -> tuple[Fact, ...]:
    """Returns whether what is measured, and what is too much, was fixed before there was a result."""
    if plan is None:
        return (Fact(name="Plan", value="none was entered in the ledger before the audit"),)
    before = f"after {plan.audits_before:,} audits of any model" if plan.audits_before else "before any audit"
    return (
        Fact(name="Plan", value=f"entered in the ledger on {text.moment(plan.created)}, {before}"),
        Fact(name="SHA-256 of the plan", value=plan.sha256, code=True),
        Fact(name="Entry of the plan", value=plan.entry, code=True),
    )


def signatures(report: Report) -> Iterator[Block]:
    """Yields how the model is released, and who answers for what: as memaudit.toml says, the rest by hand."""
    context = report.context
    yield Paragraph(
        words="What is not filled in is to be filled in by hand. What is, was said in memaudit.toml; the audit cannot "
        "know whether it is true."
    )
    yield Grid(
        title="How the model is given to others",
        columns=("Release", "Mark what applies"),
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
    """Yields what the words mean."""
    yield Points(points=GLOSSARY)
