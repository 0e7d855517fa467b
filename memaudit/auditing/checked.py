"""What a finished report was compared with, for `memaudit gate` and `memaudit verify`: ledger, model, signature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from memaudit.auditing.folder import REPORT, sha256
from memaudit.auditing.ledger import Entry, policy_digest, read
from memaudit.errors import MemauditError, SettingsError
from memaudit.policy.consistency import rules
from memaudit.reports.text import one_line
from memaudit.types import Attempt, Report, word


@dataclass(frozen=True)
class Checked:
    """The results of a verification: what is right, and what is not."""

    told: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def require(self, what: str) -> None:
        """Raise MemauditError if there are problems; it says all of them."""
        if self.problems:
            lines = [one_line(problem, 1000) for problem in self.problems]  # names and values that others wrote
            raise MemauditError("\n  ".join([what, *lines]))


def check_ledger(checked: Checked, report: Report, place: Path) -> None:
    """Compare a report with the ledger's entry about its audit."""
    if report.attempt is None:
        checked.problems.append(f"{place}: the report does not say which entry it is")
        return
    try:
        found = read(place)
    except MemauditError as error:
        checked.problems.append(str(error))
        return
    if report.attempt.entry not in found.hashes:
        checked.problems.append(
            f"{place} does not contain this audit: it is another ledger (--ledger), was restarted, or was changed"
        )
        return
    number = found.hashes.index(report.attempt.entry)
    entry = found.entries[number]
    if not isinstance(entry, Entry) or not _records(entry, found.attempt(number), report):
        checked.problems.append(f"{place}: its entry for this audit differs from {REPORT}")
        return
    if report.plan is not None:
        if found.planned(report.plan.sha256) == report.plan and report.plan.entry in found.hashes[:number]:
            checked.told.append(f"the plan {report.plan.sha256[:12]}… was entered before the audit")
        else:
            checked.problems.append(f"{place}: its entry for the plan differs from {REPORT}")
    after = found.audits()[len(found.audits(number + 1)) :]
    later = [word(e.verdict) for e in after if e.follows(entry)]
    torn = f"; {found.torn} lines were cut short and are no entries" if found.torn else ""
    checked.told.append(f"{report.attempt}{', after it: ' if later else ''}{', '.join(later)}")
    checked.told.append(f"{place}: the chain of {len(found.audits())} audits is whole{torn}")


def _records(entry: Entry, attempt: Attempt, report: Report) -> bool:
    """Return whether an entry is about the audit that a report says it is of."""
    if report.attempt is None or replace(attempt, torn=report.attempt.torn) != report.attempt:
        return False
    examples = report.provenance.get("commitment.examples", entry.examples)  # the public edition lacks it
    said = entry.model, entry.verdict, entry.time, entry.shadows, entry.policy, entry.examples
    subject, policy = report.subject, policy_digest(rules(report))
    return said == (subject.sha256, report.verdict, report.created, subject.shadows, policy, examples)


def check_model(checked: Checked, report: Report, model: Path) -> None:
    """Compare the SHA-256 of a model, a file or a folder, with the report's.

    Raises:
        SettingsError: There is no such model.
    """
    if not (model.is_file() or model.is_dir()):
        raise SettingsError(f"there is no model {model}")
    try:
        same = sha256(model) == report.subject.sha256
    except OSError as error:
        raise SettingsError(f"{model} cannot be read: {error.strerror}") from error
    if same:
        checked.told.append(f"the report is about {model}")
    else:
        checked.problems.append(f"the report is not about {model}, but about a model with another SHA-256")


def check_signature(checked: Checked, report: Report, file: Path, public: Sequence[Path]) -> None:
    """Verify the signature beside a report with any of the public keys.

    Raises:
        SettingsError: One of the keys is none.
    """
    from memaudit.auditing.signing import public_key, verify

    told, problems = verify(report, file, [public_key(place) for place in public])
    checked.told.extend(told)
    checked.problems.extend(problems)
