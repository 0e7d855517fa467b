"""A model of which there are outputs alone, audited against shadow models whose outputs were imported."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import outputs
import pytest

import memaudit
from memaudit.auditing import audit as run_audit
from memaudit.auditing import open_outputs
from memaudit.auditing.ground import ground
from memaudit.auditing.run import Audit
from memaudit.auditing.target import Target
from memaudit.bank import Bank
from memaudit.errors import BankError, EvidenceError, MemauditError, SettingsError
from memaudit.policy import hold
from memaudit.policy.consistency import contradictions
from memaudit.types import Limit, Report, Rung, Verdict

Array = np.ndarray
FAST = ("lira-online", "global-threshold")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> tuple[outputs.Made, Bank]:
    made = outputs.made(outputs.pairs(8, 400), leak=3.0)
    return made, memaudit.import_bank(tmp_path_factory.mktemp("pairs") / "bank", kind="logits", **made.shadows).bank


@pytest.fixture(scope="module")
def coins(tmp_path_factory: pytest.TempPathFactory) -> tuple[outputs.Made, Bank]:
    made = outputs.made(outputs.coins(16, 600), leak=3.0, between=0.3)
    return made, memaudit.import_bank(tmp_path_factory.mktemp("coins") / "bank", kind="logits", **made.shadows).bank


def audited(made: outputs.Made, bank: Bank, tmp_path: Path, **settings: object) -> Audit:
    target = memaudit.Outputs(**made.target, **settings.pop("outputs", {}))  # type: ignore[arg-type]
    how = {"fprs": (0.05,), "attacks": FAST, "ledger": tmp_path / "ledger.jsonl"} | settings
    return run_audit(target, bank=bank, **how)  # type: ignore[arg-type]


def controls(report: Report) -> dict[str, bool | None]:
    return {control.code: control.passed for control in report.controls}


# --- what an audit of outputs says ------------------------------------------------------------------------------------


@pytest.mark.parametrize("bank", ["pairs", "coins"])
def test_a_leak_is_found_and_what_was_not_checked_is_said(
    bank: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    made, shadows = request.getfixturevalue(bank)
    report = audited(made, shadows, tmp_path, limits=[Limit(metric="tpr", at_fpr=0.05, max=0.06)]).report
    assert report.verdict is Verdict.FAIL
    passed = controls(report)
    assert passed["CTL001"] and passed["CTL002"] and passed["CTL004"] and passed["CTL005"]
    assert passed["CTL003"] is None and passed["CTL007"] is None, "they need inputs"
    assert report.limitations[0].startswith("The shadow models were imported.")
    assert any("That they come from the released model was not checked" in line for line in report.limitations)
    assert any(line.startswith("Design of the imported models") for line in report.limitations)
    assert report.provenance["bank.origin"] == "imported outputs" and report.provenance["outputs"] == "logits"
    assert "examples.labels.sha256" not in "".join(report.provenance), "a hash could be tried out"
    assert report.subject.shadows == len(shadows.models())
    assert not contradictions(report), "the gate takes it for an audit's"


def test_examples_that_too_few_models_say_something_of_are_left_out(
    coins: tuple[outputs.Made, Bank], tmp_path: Path
) -> None:
    made, bank = coins
    report = audited(made, bank, tmp_path).report
    sides = np.minimum(made.members[:-1].sum(axis=0), 16 - made.members[:-1].sum(axis=0))
    kept = sides >= 4
    assert 0.95 <= kept.mean() < 1
    assert report.subject.members == (made.members[-1] > 0)[kept].sum()
    assert report.subject.nonmembers == (made.members[-1] == 0)[kept].sum()
    assert any(line.startswith(f"{(~kept).sum()} of the 600 examples were left out") for line in report.limitations)


def test_matched_models_are_audited_with_the_link(coins: tuple[outputs.Made, Bank], tmp_path: Path) -> None:
    report = audited(*coins, tmp_path).report
    assert not [s.reason for s in report.skipped if s.code == "LNK001"]
    assert [r.finding.code for r in report.results].count("LNK001") == 1
    memorized = next(r.finding for r in report.results if r.finding.code == "MEM001")
    assert memorized.estimate.method.startswith("Student t over shadow models")
    assert memorized.estimate.low < 0.2 < memorized.estimate.high or memorized.estimate.value > 0


def test_figures_of_pairs_are_those_of_a_bank_that_was_filled(pairs: tuple[outputs.Made, Bank], tmp_path: Path) -> None:
    """The same signals under the fingerprint of a bank of our own: every figure is the same, to the last digit."""
    made, bank = pairs
    ordered = np.stack([bank.tensors(model)["members"] for model in bank.models()])
    again = replace(made, logits=np.stack([*made.logits[_order(made, ordered)], made.logits[-1]]))
    again = replace(again, members=np.stack([*ordered, made.members[-1]]))
    other = memaudit.import_bank(tmp_path / "bank", kind="logits", **again.shadows).bank
    one, two = (audited(made, b, tmp_path).report for b in (bank, other))
    assert [r.finding.estimate for r in one.results] == [r.finding.estimate for r in two.results]


def _order(made: outputs.Made, ordered: Array) -> list[int]:
    return [int((made.members[:-1] == row).all(axis=1).argmax()) for row in ordered]


def test_inputs_let_the_other_controls_run_and_copies_count_once(tmp_path: Path) -> None:
    """20 examples are exact copies of others; those whose copies are split between training sets are left out."""
    made = outputs.made(outputs.pairs(8, 400), leak=3.0)
    x = np.random.default_rng(0).normal(size=(400, 6))
    x[380:] = x[:20]
    bank = memaudit.import_bank(tmp_path / "bank", kind="logits", inputs=x, **made.shadows).bank
    report = audited(made, bank, tmp_path, outputs={"inputs": x}).report
    passed = controls(report)
    assert passed["CTL003"] is True and passed["CTL007"] is not None
    split = (made.members[:-1, :20] != made.members[:-1, 380:]).any(axis=0).sum()
    assert split > 10
    assert report.subject.members + report.subject.nonmembers == 380 - split
    assert any(line.startswith(f"{2 * split} of the 400 examples were left out") for line in report.limitations)


def test_labels_alone_can_fail_the_blind_baseline(tmp_path: Path) -> None:
    made = outputs.made(outputs.pairs(8, 400), leak=3.0)
    made.members[-1] = made.labels < 2
    bank = memaudit.import_bank(tmp_path / "bank", kind="logits", **made.shadows).bank
    assert controls(audited(made, bank, tmp_path).report)["CTL003"] is False


def test_another_recipe_is_told_by_the_fidelity_control(pairs: tuple[outputs.Made, Bank], tmp_path: Path) -> None:
    made, bank = pairs
    hot = replace(made, logits=np.stack([*made.logits[:-1], 3 * made.logits[-1]]))
    report = audited(hot, bank, tmp_path).report
    assert controls(report)["CTL001"] is False and not report.results


def test_members_that_are_others_are_told_by_the_fidelity_control(
    pairs: tuple[outputs.Made, Bank], tmp_path: Path
) -> None:
    made, bank = pairs
    wrong = np.stack([*made.members[:-1], np.random.default_rng(3).permutation(made.members[-1])])
    report = audited(replace(made, members=wrong), bank, tmp_path).report
    assert controls(report)["CTL001"] is False


def test_a_shuffled_membership_matrix_does_not_pass_for_no_leak(
    pairs: tuple[outputs.Made, Bank], tmp_path: Path
) -> None:
    """With memberships of the shadows that are wrong, the target, which leaks, is not like them: figures withheld."""
    made, _ = pairs
    shuffled = made.members[:-1][:, np.random.default_rng(4).permutation(400)]
    bank = memaudit.import_bank(tmp_path / "bank", kind="logits", **made.shadows | {"members": shuffled}).bank
    report = audited(made, bank, tmp_path, limits=[Limit(metric="tpr", at_fpr=0.05, max=0.2)]).report
    assert report.verdict is Verdict.INCONCLUSIVE and not report.results


@pytest.mark.slow
def test_a_pass_is_possible_where_nothing_leaks(tmp_path: Path) -> None:
    made = outputs.made(outputs.pairs(16, 2000), leak=0.0)
    bank = memaudit.import_bank(tmp_path / "bank", kind="logits", **made.shadows).bank
    done = audited(made, bank, tmp_path, limits=[Limit(metric="tpr", at_fpr=0.05, max=0.12)])
    assert done.verdict is Verdict.PASS, [r.reason for r in done.report.results]
    assert hold(done.report, [Limit(metric="tpr", at_fpr=0.05, max=0.12)]).verdict is Verdict.PASS


@pytest.mark.slow
def test_every_format_of_the_report_is_written(coins: tuple[outputs.Made, Bank], tmp_path: Path) -> None:
    written = audited(*coins, tmp_path).write(tmp_path / "audit")
    assert {"report.html", "report.json", "evidence.csv"} <= {path.name for path in written}


# --- what does not fit ------------------------------------------------------------------------------------------------


def test_outputs_of_other_examples_are_refused(pairs: tuple[outputs.Made, Bank], tmp_path: Path) -> None:
    made, bank = pairs
    rolled = replace(made, labels=np.roll(made.labels, 1))
    with pytest.raises(BankError, match="the labels of the model's 400 examples are not those of the bank"):
        audited(rolled, bank, tmp_path)
    fewer = {name: values[:300] for name, values in made.target.items()}
    with pytest.raises(BankError, match="of 400 examples, and the model's outputs of 300"):
        run_audit(memaudit.Outputs(**fewer), bank=bank)


def test_a_model_that_is_among_its_shadows_is_refused(pairs: tuple[outputs.Made, Bank]) -> None:
    made, bank = pairs
    target = memaudit.Outputs(made.logits[3], made.labels, made.members[3])
    with pytest.raises(BankError, match="the audited model is shadow model 3 of the bank"):
        run_audit(target, bank=bank)


def test_ids_are_compared_where_both_have_them(tmp_path: Path) -> None:
    made = outputs.made(outputs.pairs(6, 100), leak=3.0)
    names = [f"person {number}" for number in range(100)]
    bank = memaudit.import_bank(tmp_path / "bank", kind="logits", ids=names, **made.shadows).bank
    with pytest.raises(BankError, match="the ids of the model's 100 examples"):
        audited(made, bank, tmp_path, outputs={"ids": names[::-1]})
    target = memaudit.Outputs(**made.target | {"members": np.array(names)[made.members[-1] > 0]}, ids=names)
    report = run_audit(target, bank=bank, fprs=(0.1,), attacks=FAST, ledger=tmp_path / "l", evidence="ids").report
    assert report.subject.members == (made.members[-1] > 0).sum()
    assert report.exposed[0].identifier.startswith("person ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"members": None}, "has no array `members`"),
        ({"members": np.zeros(400, bool)}, "0 members"),
        ({"kind": "probabilities"}, "not what is stated"),
        ({"outputs": np.zeros((400, 4))}, "the same for all examples"),
        ({"labels": None}, "the array 'labels' is missing"),
    ],
)
def test_outputs_that_cannot_be_audited_are_refused(
    changes: dict[str, object], message: str, pairs: tuple[outputs.Made, Bank]
) -> None:
    with pytest.raises(EvidenceError, match=message):
        run_audit(memaudit.Outputs(**pairs[0].target | changes), bank=pairs[1])


def test_what_else_an_audit_needs_is_named(pairs: tuple[outputs.Made, Bank], tmp_path: Path) -> None:
    made, bank = pairs
    alone = run_audit(memaudit.Outputs(**made.target), ledger=tmp_path / "ledger.jsonl", fprs=(0.05,)).report
    assert (alone.rung, alone.subject.shadows) == (Rung.TARGET, 0)
    with pytest.raises(EvidenceError, match="needs a recipe"):
        run_audit("model.pt", bank=bank)
    np.savez(tmp_path / "t.npz", **made.target)
    with pytest.raises(SettingsError, match="what are the numbers"):
        open_outputs(tmp_path / "t.npz")


def test_models_that_are_no_pairs_may_be_an_odd_number(tmp_path: Path) -> None:
    made = outputs.made(outputs.coins(17, 300), leak=3.0)
    bank = memaudit.import_bank(tmp_path / "bank", kind="logits", **made.shadows).bank
    report = audited(made, bank, tmp_path).report
    assert report.subject.shadows == 17
    assert not contradictions(report)
    told = ("bank.origin", "bank.design.pairs")
    forged = replace(report, provenance={k: v for k, v in report.provenance.items() if k not in told})
    assert any("17 shadow models" in problem for problem in contradictions(forged))


# --- files ------------------------------------------------------------------------------------------------------------


def test_the_subject_of_a_file_is_its_digest(pairs: tuple[outputs.Made, Bank], tmp_path: Path) -> None:
    made, _ = pairs
    path = tmp_path / "target.npz"
    np.savez(path, **made.target)
    target = open_outputs(path, "logits")
    assert target.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert np.array_equal(target.members, made.members[-1] > 0)
    assert target.model == path


def test_a_table_and_a_members_file_of_its_own(pairs: tuple[outputs.Made, Bank], tmp_path: Path) -> None:
    made, _ = pairs
    rows = ["example,label,a,b,c,d"]
    rows += [
        ",".join(map(str, [f"e{n}", made.labels[n], *map(float, made.logits[-1, n])])) for n in range(len(made.labels))
    ]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    listed = [f"e{n}" for n in np.flatnonzero(made.members[-1])]
    (tmp_path / "members.csv").write_text("\n".join(["id", *listed]))
    target = open_outputs(tmp_path / "t.csv", "logits", tmp_path / "members.csv")
    assert np.array_equal(target.members, made.members[-1] > 0)
    reference = open_outputs(memaudit.Outputs(**made.target))
    assert np.allclose(target.recorded["phi"], reference.recorded["phi"])


def test_signals_that_sacro_ml_left_are_read(pairs: tuple[outputs.Made, Bank], tmp_path: Path) -> None:
    """`report_arrays_…_instance_0.npz` of its likelihood-ratio attack, with report_individual."""
    made, bank = pairs
    reference = open_outputs(memaudit.Outputs(**made.target)).recorded["phi"]
    phi = np.stack(
        [open_outputs(memaudit.Outputs(z, made.labels, made.members[-1])).recorded["phi"] for z in made.logits]
    )
    np.savez_compressed(
        tmp_path / "report_arrays_1a2b3c4d_instance_0.npz",
        **{
            "fpr": np.zeros(3),
            "individual.target_logit": reference[:, 0].astype(float),
            "individual.label": made.labels,
            "individual.member": made.members[-1].astype(int),
            "individual.out_mean": np.zeros(400),
        },
    )
    target = open_outputs(tmp_path / "report_arrays_1a2b3c4d_instance_0.npz")
    assert np.array_equal(target.recorded["phi"], reference) and target.outputs == "scaled-logits"
    with pytest.raises(EvidenceError, match="give it as the array `correct`"):
        run_audit(target, bank=bank, ledger=tmp_path / "l")
    same = made.shadows | {"outputs": phi[:-1, :, 0]}
    alike = memaudit.import_bank(tmp_path / "bank", kind="scaled-logits", **same).bank
    report = run_audit(target, bank=alike, fprs=(0.05,), attacks=FAST, ledger=tmp_path / "l").report
    assert report.results and any("counts as correct if the probability" in line for line in report.limitations)
    whole = audited(made, alike, tmp_path).report
    assert [r.finding.estimate for r in whole.results] == [r.finding.estimate for r in report.results]


# --- outputs of a model whose shadows a recipe trained ----------------------------------------------------------------

_RECIPE = """
import numpy as np
from sklearn.linear_model import LogisticRegression
import memaudit as ma

def examples():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 30))
    return ma.Examples(x, (x[:, 0] + rng.normal(size=200) > 0).astype(int))

recipe = ma.EstimatorRecipe(examples, LogisticRegression(C=100.0))
"""


def test_the_model_behind_an_interface_with_shadows_from_a_recipe(tmp_path: Path) -> None:
    """The outputs of a model that is saved are audited like the model: the same rates."""
    (tmp_path / "recipe.py").write_text(_RECIPE)
    recipe = f"{tmp_path / 'recipe.py'}:recipe"
    from memaudit.recipe import load_recipe

    made = load_recipe(recipe)
    examples = cast("memaudit.Examples", made.examples())  # type: ignore[union-attr]
    members = memaudit.draw_members(made, seed=1)
    model = memaudit.train(made, members, seed=2)
    memaudit.save_target(model, tmp_path / "model.skops", members, made)
    bank = memaudit.fill(tmp_path / "bank", made, shadows=8)
    how = {"fprs": (0.1,), "attacks": FAST}
    whole = memaudit.audit(tmp_path / "model.skops", made, bank, ledger=tmp_path / "a.jsonl", **how)  # type: ignore[arg-type]
    recorded = memaudit.Outputs(model.decision_function(examples.x)[:, None], members=members)
    alone = memaudit.audit(recorded, made, bank, ledger=tmp_path / "b.jsonl", **how)  # type: ignore[arg-type]
    assert [r.finding.estimate for r in whole.report.results] == [r.finding.estimate for r in alone.report.results]
    with pytest.raises(EvidenceError, match="give it beside the outputs"):
        memaudit.audit(memaudit.Outputs(recorded.outputs, examples.y, np.asarray(members) > 0), bank=bank)


# --- any model that runs somewhere: ONNX, Keras -----------------------------------------------------------------------


Run = Callable[[Array, Array, Array], Array]
"""Trains on (inputs, labels) and returns the probabilities for all inputs, the third."""


def found_by_probabilities(run: Run, name: str, tmp_path: Path) -> None:
    """Audits a model by its probabilities alone: 60 features and 150 rows, so that it leaks."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 60)).astype(np.float32)
    y = (x[:, 0] + rng.normal(size=300) > 0).astype(int)
    members = np.vstack([outputs.pairs(8, 300), rng.random(300) < 0.5])
    recorded = np.stack([run(x[row], y[row], x) for row in members])
    bank = memaudit.import_bank(
        tmp_path / "bank", kind="probabilities", outputs=recorded[:-1], members=members[:-1], labels=y, inputs=x
    ).bank
    target = memaudit.Outputs(recorded[-1], y, members[-1], inputs=x, kind="probabilities", name=name)
    done = memaudit.audit(target, bank=bank, fprs=(0.1,), attacks=FAST, ledger=tmp_path / "l")
    assert done.report.subject.model.endswith(name)
    assert controls(done.report)["CTL001"] and controls(done.report)["CTL003"]
    found = next(r.finding for r in done.report.results if r.finding.attack == "lira-online")
    assert found.estimate.low > 0.1
    right, wrong = (np.maximum(recorded[-1][np.arange(300), of], 1e-30).astype(float) for of in (y, 1 - y))
    phi = np.log(right / wrong)
    inside, outside = phi[members[-1]], phi[~members[-1]]
    area = np.mean(inside[:, None] > outside) + 0.5 * np.mean(inside[:, None] == outside)
    table = next(t for r in done.report.results for t in r.finding.tables if t.title == "All attacks")
    (shown,) = (row[1] for row in table.rows if row[0] == "Loss threshold")
    assert str(shown).startswith(f"{area:.3f} "), "the AUC of one threshold is that of the recorded probabilities"


def test_a_model_that_runs_in_onnxruntime_alone(tmp_path: Path) -> None:
    """Estimators are exported to ONNX, run by onnxruntime, and audited by the probabilities that it returns."""
    onnxruntime = pytest.importorskip("onnxruntime")
    skl2onnx = pytest.importorskip("skl2onnx")
    from sklearn.linear_model import LogisticRegression

    def run(inputs: Array, labels: Array, asked: Array) -> Array:
        model = LogisticRegression(C=100.0, max_iter=1000).fit(inputs, labels)
        options = {id(model): {"zipmap": False}}
        graph = skl2onnx.to_onnx(model, asked[:1], options=options, target_opset=17)
        session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
        return np.asarray(session.run(["probabilities"], {session.get_inputs()[0].name: asked})[0])

    found_by_probabilities(run, "model.onnx", tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_a_keras_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models are saved and loaded in Keras' own format, and audited by what `predict` returns."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")

    def run(inputs: Array, labels: Array, asked: Array) -> Array:
        keras.utils.set_random_seed(0)
        network = keras.Sequential([keras.Input((60,)), keras.layers.Dense(2, activation="softmax")])
        network.compile(optimizer=keras.optimizers.Adam(0.05), loss="sparse_categorical_crossentropy")
        network.fit(inputs, labels, batch_size=50, epochs=60, verbose=0)
        network.save(tmp_path / "model.keras")
        return np.asarray(keras.models.load_model(tmp_path / "model.keras").predict(asked, verbose=0))

    found_by_probabilities(run, "model.keras", tmp_path)


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_audits_outputs_with_an_imported_bank(
    coins: tuple[outputs.Made, Bank],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from memaudit.cli import main

    coins[0].write(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "memaudit.toml").write_text(
        "[audit]\nattacks = ['lira-online']\nfpr = [0.05]\n[[gate]]\nmetric = 'tpr'\nat_fpr = 0.05\nmax = 0.06\n"
    )

    def call(*arguments: str) -> tuple[object, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        told = capsys.readouterr()
        return ended.value.code, told.out + told.err

    assert call("bank", "import", "shadows.npz", "--kind", "logits")[0] == 0
    code, told = call("audit", "--outputs", "target.npz", "--kind", "logits", "-q")
    assert code == 1, told
    report = json.loads((tmp_path / "audit" / "report.json").read_text())
    assert report["subject"]["model"] == "target.npz"
    assert report["provenance"]["command"].startswith("memaudit audit --outputs target.npz")
    assert call("gate", "audit/report.json")[0] == 1
    assert call("verify", "audit")[0] == 0
    other = coins[0].target | {
        "outputs": coins[0].target["outputs"] + np.random.default_rng(1).normal(size=(600, 4)) / 5
    }
    np.savez(tmp_path / "next.npz", **other)
    assert call("audit", "--outputs", "next.npz", "--kind", "logits", "-q", "--out", "next")[0] == 1
    code, told = call("diff", "audit", "next")
    assert code == 3 and "Paired" in told, told
    assert call("report", "next/report.json", "-o", "page.md")[0] == 0
    assert "were trained elsewhere and imported" in (tmp_path / "audit" / "report.html").read_text()
    assert call("audit")[0] == 2
    assert "one of the two" in call("audit", "m.pt", "--outputs", "target.npz")[1]
    code, told = call("bank", "fill", "--recipe", "recipe.py:recipe")
    assert code == 2


def test_the_errors_of_the_tree_are_all_memaudit_s(tmp_path: Path) -> None:
    with pytest.raises(MemauditError, match="there is no"):
        open_outputs(tmp_path / "none.npz", "logits")


# --- what outputs alone cannot be of ----------------------------------------------------------------------------------


def _of(y: Array, task: str | None, outputs: Array, tmp_path: Path, **more: object) -> Report:
    x = np.random.default_rng(0).normal(size=(len(y), 3))
    examples = memaudit.Examples(x, y, task=task)  # type: ignore[arg-type]
    source = memaudit.Outputs(outputs, members=np.arange(len(y)) < len(y) // 2, **more)  # type: ignore[arg-type]
    recipe = memaudit.CallableRecipe(lambda: examples)
    return run_audit(source, recipe, fprs=[0.1], ledger=tmp_path / "ledger.jsonl").report


@pytest.mark.parametrize("task", ["multilabel", "regression"])
@pytest.mark.parametrize("kind", ["logits", "losses"])
def test_outputs_of_several_labels_or_numbers_are_refused(task: str, kind: str, tmp_path: Path) -> None:
    """An absolute error would otherwise be read as a cross-entropy."""
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, (100, 3)) if task == "multilabel" else rng.normal(size=100)
    outputs = rng.normal(size=(100, 3)) if kind == "logits" else rng.random(100)
    with pytest.raises(EvidenceError, match=f"one label an example; the recipe is for {task}"):
        _of(y, task, outputs, tmp_path, kind=kind)


def test_labels_with_names_are_compared_by_name_or_number(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    y, outputs = np.array(["no", "yes"])[rng.integers(0, 2, 100)], rng.normal(size=(100, 2))
    usual = _of(y, None, outputs, tmp_path)
    for labels in (y, y.tolist(), y.astype(object), (y == "yes").astype(int), (y == "yes").astype(float)):
        assert _of(y, None, outputs, tmp_path, labels=labels).results == usual.results
    with pytest.raises(EvidenceError, match="the labels of the outputs are not those of the recipe"):
        _of(y, None, outputs, tmp_path, labels=y[::-1])


@pytest.mark.parametrize("inputs", [[np.arange(n % 3 + 2) for n in range(100)], [{"a": 1}] * 100])
def test_inputs_that_are_no_array_are_refused(inputs: list[object]) -> None:
    with pytest.raises(EvidenceError, match="inputs are a list; give one array of numbers or strings"):
        memaudit.Outputs(np.zeros((100, 2)), inputs=inputs).arrays()


# --- what an audit with less than a bank, or of other numbers, would get wrong ----------------------------------------


@pytest.mark.parametrize("shadows", [2, 4])
def test_a_model_that_is_among_a_few_shadows_is_refused(pairs: tuple[outputs.Made, Bank], shadows: int) -> None:
    made, bank = pairs
    number = bank.record(0)["imported"]
    target = memaudit.Outputs(made.logits[number], made.labels, made.members[number])
    with pytest.raises(BankError, match=f"the audited model is shadow model {number} of the bank"):
        run_audit(target, bank=bank, shadows=shadows)


def test_a_few_imported_shadows_are_references_for_what_no_copy_of_they_saw(tmp_path: Path) -> None:
    """Of two copies that one model saw one of, it is no reference for either."""
    members = outputs.pairs(8, 200)
    members[:, 1] = ~members[:, 0]
    made = outputs.made(members, leak=3.0)
    made.labels[1], inputs = made.labels[0], np.random.default_rng(0).normal(size=(200, 3))
    inputs[1] = inputs[0]
    bank = memaudit.import_bank(tmp_path / "bank", kind="logits", inputs=inputs, **made.shadows).bank
    target = open_outputs(memaudit.Outputs(**made.target, inputs=inputs))
    with pytest.raises(BankError, match="1 of the 199 examples were in the training sets of all shadow models"):
        ground(target, bank, shadows=4)
    seen = np.stack([bank.tensors(model)["members"] for model in range(4)]) > 0
    members[:, 1] = members[:, 0]
    bank = memaudit.import_bank(
        tmp_path / "whole", kind="logits", inputs=inputs, **made.shadows | {"members": members}
    ).bank
    seen = np.stack([bank.tensors(model)["members"] for model in range(4)]) > 0
    few = ground(target, bank, shadows=4).references
    assert few is not None
    assert np.array_equal(few.out, ~np.delete(seen, 1, axis=1))


def test_damage_of_a_few_shadows_is_found(tmp_path: Path) -> None:
    made = outputs.made(outputs.pairs(6, 100), leak=3.0)
    bank = memaudit.import_bank(tmp_path / "bank", kind="logits", **made.shadows).bank
    file = tmp_path / "bank" / "models" / "0001" / "signals.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(BankError, match=r"model 1 of .* is damaged"):
        run_audit(memaudit.Outputs(**made.target), bank=bank, shadows=4)


@pytest.mark.parametrize("mine", [True, False])
def test_numbers_of_rows_in_another_order_are_ids(tmp_path: Path, mine: bool) -> None:
    """Numbers of rows that are in their order are no sign that rows are: the other side's may be in another."""
    made = outputs.made(outputs.pairs(8, 100), leak=3.0)
    order = np.random.default_rng(0).permutation(100)
    own = {"outputs": made.logits[..., 0], "members": made.members}
    bank = memaudit.import_bank(
        tmp_path / "bank", kind="scaled-logits", ids=np.arange(100) if mine else order,
        outputs=own["outputs"][:-1] if mine else own["outputs"][:-1, order],
        members=own["members"][:-1] if mine else own["members"][:-1, order],
    ).bank  # fmt: skip
    rows = order if mine else np.arange(100)
    target = memaudit.Outputs(own["outputs"][-1, rows], None, own["members"][-1, rows], rows, kind="scaled-logits")
    with pytest.raises(BankError, match="the ids of the model's 100 examples"):
        run_audit(target, bank=bank)


def test_ids_of_one_side_and_inputs_of_the_other_are_not_compared(tmp_path: Path) -> None:
    """Without ids, examples with inputs are called by hashes of these, which no given id is."""
    made = outputs.made(outputs.pairs(8, 100), leak=3.0)
    inputs = np.random.default_rng(0).normal(size=(100, 3))
    bank = memaudit.import_bank(tmp_path / "bank", kind="logits", inputs=inputs, **made.shadows).bank
    names = [f"person {number}" for number in range(100)]
    assert audited(made, bank, tmp_path, outputs={"ids": names, "inputs": inputs}).report.results
    with pytest.raises(BankError, match="the ids of the model's 100 examples"):
        audited(made, bank, tmp_path, outputs={"inputs": inputs[::-1]})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"correct": np.ones(3)}, r"correct is 0 or 1 .* got an array of float64, \[3\]"),
        ({"correct": np.full(400, np.nan)}, "correct is 0 or 1 .* with other values"),
        ({"correct": np.array(["yes"] * 400)}, "correct is 0 or 1"),
        ({"labels": np.zeros(400)}, "all 400 examples have the label"),
        ({"labels": np.array(["a", "b"] * 200)}, "labels are numbers"),
    ],
)
def test_arrays_of_a_model_that_mean_nothing_are_refused(
    changes: dict[str, object], message: str, pairs: tuple[outputs.Made, Bank]
) -> None:
    with pytest.raises(EvidenceError, match=message):
        run_audit(memaudit.Outputs(**pairs[0].target | changes), bank=pairs[1])


@pytest.mark.parametrize("size", [1e39, -1e308])
def test_outputs_that_single_precision_does_not_hold_are_refused(pairs: tuple[outputs.Made, Bank], size: float) -> None:
    made, bank = pairs
    values = made.logits[-1].copy()
    values[7, made.labels[7]] = size
    with pytest.raises(EvidenceError, match="outputs are too large, first those of example 7"):
        run_audit(memaudit.Outputs(**made.target | {"outputs": values}), bank=bank)


def test_without_a_bank_outputs_the_wrong_way_around_are_refused(pairs: tuple[outputs.Made, Bank]) -> None:
    made, _ = pairs
    p = outputs.softmax(made.logits[-1])
    with pytest.raises(EvidenceError, match="is right about"):
        open_outputs(memaudit.Outputs(100.0 * (np.arange(4) != made.labels[:, None]), made.labels, made.members[-1]))
    with pytest.raises(EvidenceError, match="less confident in the examples it was trained on"):
        run_audit(memaudit.Outputs(**made.target | {"outputs": -np.log(p)}))
    losses = -np.log(p[np.arange(400), made.labels])
    target = memaudit.Outputs(losses, made.labels, made.members[-1], kind="scaled-logits")
    with pytest.raises(EvidenceError, match="less confident in the examples it was trained on"):
        run_audit(target)
    with pytest.raises(EvidenceError, match="less confident"):
        run_audit(memaudit.Outputs(**made.target | {"members": made.members[-1] == 0}))


@pytest.mark.parametrize("task", ["regression", "multilabel"])
def test_outputs_of_a_recipe_of_another_task_are_refused(task: str) -> None:
    """A prediction is no scaled logit, and three labels are not three classes."""
    from sklearn.linear_model import Ridge
    from sklearn.tree import DecisionTreeClassifier

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(100, 3)), rng.normal(size=100)
    labels = y if task == "regression" else (x > 0).astype(int)
    model = Ridge() if task == "regression" else DecisionTreeClassifier()
    recipe = memaudit.EstimatorRecipe(lambda: memaudit.Examples(x, labels, task=task), model)  # type: ignore[arg-type]
    values, kind = (y, "scaled-logits") if task == "regression" else (x, "logits")
    target = memaudit.Outputs(values, members=np.arange(100) < 50, kind=kind)
    with pytest.raises(EvidenceError, match=f"the recipe is for {task}"):
        run_audit(target, recipe)


def test_labels_and_ids_are_compared_with_the_recipe_s_in_any_form(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x, names = rng.normal(size=(100, 3)), np.array(["cat", "dog"])
    y = (x[:, 0] > 0).astype(int)
    recipe = memaudit.EstimatorRecipe(
        lambda: memaudit.Examples(x, names[y].tolist(), np.arange(100)), LogisticRegression()
    )

    def opened(labels: Array) -> Target:
        return open_outputs(memaudit.Outputs(5 * x[:, :1], labels, np.arange(100) < 50, np.arange(100)), recipe=recipe)

    for labels in (y, names[y]):
        assert opened(labels).members.sum() == 50
    for labels in (y + 0.7, names[1 - y]):
        with pytest.raises(EvidenceError, match="the labels of the outputs are not those of the recipe"):
            opened(labels)
