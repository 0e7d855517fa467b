"""Experiment trackers and model cards: each library reads back what was logged, and nothing names an example."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import sample_report

from memaudit import reports
from memaudit.attack_names import ATTACKS_BY_METRIC
from memaudit.errors import MemauditError
from memaudit.loggers.content import COLUMNS, content
from memaudit.reports.text import interval
from memaudit.types import Control, Edition, Report

REPORT = sample_report()
TPR = "memaudit/MIA001/lira/0.001"


def test_every_finding_has_a_value_and_an_interval() -> None:
    found = content(REPORT)
    assert len(found.metrics) == 3 * len(REPORT.results) == 3 * len(found.rows)
    assert [found.metrics[f"{TPR}/{end}"] for end in ("value", "low", "high")] == [0.0417, 0.0389, 0.0446]
    row = dict(zip(COLUMNS, found.rows[2], strict=True))
    assert (row["code"], row["limit"], row["verdict"]) == ("MIA001", 0.01, "fail")


@pytest.mark.parametrize("edition", [Edition.PUBLIC, Edition.INTERNAL])
def test_two_findings_of_one_name_are_two_metrics_and_one_under_two_limits_is_one(edition: Edition) -> None:
    first = REPORT.results[2]
    other = replace(first.finding, estimate=replace(first.finding.estimate, value=0.5))
    second = replace(first, finding=replace(first.finding, figures=(), tables=()))  # as a policy writes it
    found = content(replace(REPORT, results=(first, second, replace(first, finding=other))), edition)
    assert {name for name in found.metrics if name.endswith("value")} == {f"{TPR}/value", f"{TPR}/2/value"}
    assert found.metrics[f"{TPR}/2/value"] == 0.5
    assert len(found.rows) == 3


@pytest.mark.parametrize("attack", ["min-k++", "zurück <x>|#%", "../../x", "..", "a" * 300])
def test_a_name_is_one_that_every_tracker_takes(attack: str) -> None:
    """MLflow takes letters, digits and _ - . : / of 250 characters at most, and no folder above its own."""
    first = REPORT.results[2]
    named = replace(first, finding=replace(first.finding, attack=attack))
    names = list(content(replace(REPORT, results=(first, named, named))).metrics)
    assert len(names) == 6
    for name in names:
        assert re.fullmatch(r"[A-Za-z0-9_./-]{1,250}", name)
        assert not {"", ".", ".."} & set(name.split("/"))


def test_mlflow_takes_every_attack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    from mlflow.utils.validation import _validate_metric_name

    assert mlflow
    first = REPORT.results[2]
    for attack in ATTACKS_BY_METRIC["tpr"]:
        for name in content(
            replace(REPORT, results=(replace(first, finding=replace(first.finding, attack=attack)),))
        ).metrics:
            _validate_metric_name(name)  # type: ignore[no-untyped-call]


def test_a_failed_control_is_a_label() -> None:
    assert content(REPORT).labels["failed_controls"] == ""
    failed = Control(code="CTL003", title="", passed=False, sentence="")
    assert content(replace(REPORT, controls=(failed,))).labels["failed_controls"] == "CTL003"


@pytest.mark.parametrize("edition", [Edition.PUBLIC, Edition.INTERNAL])
def test_no_example_is_logged(edition: Edition, tmp_path: Path) -> None:
    people = [word for e in REPORT.exposed for word in (e.identifier, e.thumbnail[-40:]) if word]
    assert len(people) == 11
    for file in content(REPORT, edition).write(tmp_path):
        text = file.read_text("utf-8")
        assert "model.pt" in text
        assert not [word for word in people if word in text]


def test_the_restricted_edition_is_refused() -> None:
    with pytest.raises(MemauditError, match="read by many"):
        content(REPORT, "restricted")
    with pytest.raises(MemauditError, match="no edition 'all'"):
        content(REPORT, "all")


def _stored(file: Path) -> Report:
    """The report that a tracker stored."""
    found = reports.load(file)
    assert found.edition is Edition.PUBLIC
    assert found.subject == REPORT.subject
    return found


def test_mlflow_has_metrics_tags_table_pictures_and_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from memaudit.loggers.mlflow import log_audit

    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    try:
        with mlflow.start_run() as run:
            log_audit(REPORT)
        log_audit(replace(REPORT, results=REPORT.results[:1]), run_id=run.info.run_id)  # of a run that has ended
        found = mlflow.get_run(run.info.run_id)
        assert mlflow.active_run() is None
        log_audit(REPORT)
        assert mlflow.active_run() is None, "a run that was started for the audit is ended"
        assert mlflow.last_active_run().info.run_id != run.info.run_id
        assert mlflow.last_active_run().info.status == "FINISHED"
    finally:
        mlflow.set_tracking_uri(None)
    assert found.data.metrics == content(REPORT).metrics
    assert found.data.tags["memaudit.verdict"] == "inconclusive"
    stored = Path(found.info.artifact_uri.removeprefix("file://"))
    table = json.loads((stored / "memaudit" / "findings.json").read_text("utf-8"))
    assert table["columns"] == list(COLUMNS)
    assert len(table["data"]) == 1, "that of the last audit"
    assert (stored / f"{TPR}/1.png").read_bytes().startswith(b"\x89PNG")
    assert len(_stored(stored / "memaudit" / "report.json").results) == 1
    assert (stored / "memaudit" / "report.html").is_file()


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for all that Weights & Biases writes; nothing goes over the network."""
    values = {"MODE": "offline", "SILENT": "true", "DATA_DIR": "data", "CACHE_DIR": "cache", "CONFIG_DIR": "config"}
    for name, value in values.items():
        monkeypatch.setenv(f"WANDB_{name}", str(tmp_path / value) if name.endswith("DIR") else value)
    return tmp_path


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # a folder of wandb's, at its exit
def test_wandb_has_metrics_table_pictures_and_report(offline: Path) -> None:
    wandb = pytest.importorskip("wandb")
    from memaudit.loggers.wandb import log_audit

    with pytest.raises(MemauditError, match="no active run"):
        log_audit(REPORT)
    with wandb.init(dir=str(offline), project="memaudit") as run:
        log_audit(REPORT)
        summary = dict(run.summary)
    assert {name: summary[name] for name in content(REPORT).metrics} == content(REPORT).metrics
    assert summary["memaudit/verdict"] == "fail"
    (table,) = offline.rglob("*.table.json")
    assert json.loads(table.read_text("utf-8"))["columns"] == list(COLUMNS)
    (picture,) = offline.rglob("*.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    staged = [file for file in (offline / "data").rglob("*") if file.is_file()]
    (report,) = (file for file in staged if b'"memaudit.report/1"' in file.read_bytes()[:200])
    assert [file for file in staged if file.read_bytes().startswith(b"<!DOCTYPE html>")]
    _stored(report)


def test_tensorboard_has_scalars_text_and_pictures(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    from memaudit.loggers.tensorboard import log_audit

    with SummaryWriter(str(tmp_path)) as writer:
        log_audit(REPORT, writer, step=7)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    for name, value in content(REPORT).metrics.items():
        (event,) = events.Scalars(name)
        assert event.step == 7
        np.testing.assert_allclose(event.value, value, rtol=1e-6)
    assert events.Images(f"{TPR}/1")[0].encoded_image_string.startswith(b"\x89PNG")
    text = events.Tensors("memaudit/report/text_summary")[0].tensor_proto.string_val[0].decode()
    assert text == reports.render(REPORT, "md", Edition.PUBLIC).decode()


def metadata(card: Path) -> dict[str, Any]:
    """The metadata of a card, as the hub reads it."""
    from huggingface_hub import metadata_load

    found = metadata_load(card)
    assert found is not None
    return found


CARD = """---
license: mit
model-index:
- name: small-model
  results:
  - task:
      type: text-generation
    dataset:
      type: wikitext
      name: WikiText
    metrics:
    - type: perplexity
      value: 21.5
---
# Small model

What it is for.
"""


@pytest.fixture
def card(tmp_path: Path) -> Iterator[Path]:
    pytest.importorskip("huggingface_hub")
    path = tmp_path / "README.md"
    path.write_text(CARD, "utf-8")
    yield path


def test_a_model_card_has_the_results_by_the_schema_of_the_hub(card: Path) -> None:
    from huggingface_hub import ModelCard
    from huggingface_hub.repocard_data import model_index_to_eval_results

    from memaudit.loggers.huggingface import update_card

    update_card(card, REPORT)
    found = metadata(card)
    assert found["license"] == "mit"
    name, results = model_index_to_eval_results(found["model-index"])
    assert name == "small-model"
    assert {result.metric_type: result.metric_value for result in results} == {
        "perplexity": 21.5,
        "tpr": 0.0417,
        "exposure": 2.1,
        "extraction": 0.4,
    }
    tpr = next(result for result in results if result.metric_type == "tpr")
    assert (tpr.task_type, tpr.metric_args) == ("membership-inference", {"attack": "lira", "at_fpr": 0.001})
    assert interval(REPORT.results[2].finding.estimate) in str(tpr.metric_name)
    loaded = ModelCard.load(card)
    assert loaded.text.startswith("# Small model\n\nWhat it is for.\n\n<!-- memaudit -->\n## Privacy audit\n")


def test_a_second_audit_replaces_the_first_in_a_card(card: Path) -> None:
    from huggingface_hub import ModelCard

    from memaudit.loggers.huggingface import update_card

    update_card(card, REPORT)
    once = card.read_bytes()
    update_card(card, REPORT)
    assert card.read_bytes() == once
    failed = Control(code="CTL003", title="", passed=False, sentence="")
    update_card(card, replace(REPORT, controls=(failed,)))
    after = ModelCard.load(card)
    assert [result.metric_type for result in after.data.eval_results or ()] == ["perplexity"], "a control failed"
    assert str(after).count("## Privacy audit") == 1
    assert "What it is for." in str(after)


def test_hostile_text_stays_in_its_section_of_a_card(card: Path) -> None:
    from memaudit.loggers.huggingface import update_card

    words = "<!-- /memaudit --> : [\n---\nlicense: none # \\1 ## Privacy audit"
    finding = replace(REPORT.results[2].finding, title=words)
    hostile = replace(REPORT, results=(replace(REPORT.results[2], finding=finding),))
    for _ in range(2):
        update_card(card, hostile)
    assert metadata(card)["license"] == "mit"
    text = card.read_text("utf-8")
    body = text[text.index("# Small model") :]
    assert (body.count("<!-- memaudit -->"), body.count("<!-- /memaudit -->")) == (1, 1)


def test_a_card_is_made_where_there_is_none(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    from memaudit.loggers.huggingface import update_card

    update_card(tmp_path / "README.md", REPORT)
    assert metadata(tmp_path / "README.md")["model-index"][0]["name"] == "model"
