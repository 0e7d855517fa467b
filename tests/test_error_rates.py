"""Gates on true-positive rates, audit by audit: the short form of benchmarks/operating_characteristics --simulate."""

import numpy as np
import pytest

from benchmarks.operating_characteristics import FPR, Audit, audit, gate
from benchmarks.simulation import LAWS, Law, true_rate
from memaudit.types import Verdict

AUDITS = 150
MOST = 0.05 + 3.3 * np.sqrt(0.05 * 0.95 / AUDITS)  # false alarm 5e-4 for each of the rates, if they are exactly nominal


def truth(audits: list[Audit]) -> float:
    return true_rate(np.stack([a.fprs for a in audits]), np.stack([a.tprs for a in audits]), FPR)


def rates(audits: list[Audit], limit: float) -> tuple[float, float]:
    """Return the shares of audits that pass and that fail, whatever the controls say."""
    verdicts = [gate(a, limit, controlled=False) for a in audits]
    passes, fails = (float(np.mean([v is which for v in verdicts])) for which in (Verdict.PASS, Verdict.FAIL))
    return passes, fails


@pytest.mark.slow
@pytest.mark.parametrize("law", [law for law in LAWS if law.target_shift == 0], ids=lambda law: law.name)
@pytest.mark.parametrize("shadows", [6, 8, 16])
def test_gates_keep_their_error_rates_from_the_least_number_of_shadows_on(law: Law, shadows: int) -> None:
    audits = [audit(law, shadows, "lira-online", seed) for seed in range(AUDITS)]
    true = truth(audits)
    passes, fails = rates(audits, true)
    assert passes <= MOST
    assert fails <= MOST
    assert rates(audits, true / 1.2)[0] <= 0.02  # a model that leaks 20 % more than it may
    assert np.mean([a.found.low <= true <= a.found.high for a in audits]) >= 0.95 - (MOST - 0.05)
    for code in ("CTL001", "CTL004"):  # false alarms; the target is one of the shadows' kind
        alarms = np.mean([c.passed is False for a in audits for c in a.controls if c.code == code])
        assert alarms <= 0.01 + 3.3 * np.sqrt(0.01 * 0.99 / AUDITS)


@pytest.mark.slow
def test_the_default_attack_keeps_them_too() -> None:
    audits = [audit(LAWS[0], 6, "slira", seed) for seed in range(60)]
    passes, fails = rates(audits, truth(audits))
    assert max(passes, fails) <= 0.05 + 3.3 * np.sqrt(0.05 * 0.95 / 60)


@pytest.mark.slow
def test_a_less_confident_target_is_stopped_by_the_fidelity_control() -> None:
    """Without it, gates pass too often: the shadows say nothing about such a target."""
    audits = [audit(LAWS[-1], 64, "lira-online", seed) for seed in range(60)]
    stopped = np.mean([c.passed is False for a in audits for c in a.controls if c.code == "CTL001"])
    assert stopped >= 0.7
