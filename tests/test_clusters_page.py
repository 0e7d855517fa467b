"""What docs/clusters.md shows: its commands run, on engines that run their jobs here, and its jobs fill every shard."""

import os
import shlex
import subprocess
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import yaml
from test_docs import DOCS, snippets
from test_executors import Ran, here

from memaudit.bank import Bank, Store
from memaudit.cli.settings import Settings
from memaudit.training.executors import Executor, Options, Submit, registry

Command = Callable[..., CompletedProcess[str]]
PAGE = [*snippets(DOCS / "clusters.md")]
STORE = "s3://my-bucket/bank"


def of(language: str) -> list[str]:
    return [snippet.text for snippet in PAGE if snippet.language == language]


def shards(script: str, environments: Sequence[dict[str, str]], folder: Path) -> list[list[str]]:
    """What a shell calls memaudit with when it runs a script in each of some environments."""
    (folder / "memaudit").write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n", "utf-8")
    (folder / "srun").write_text('#!/bin/sh\n"$@"\n', "utf-8")
    for name in ("memaudit", "srun"):
        (folder / name).chmod(0o755)
    path = {"PATH": f"{folder}:{os.environ['PATH']}"}
    return [
        subprocess.check_output(["sh", "-c", script], env=path | variables, text=True).splitlines()
        for variables in environments
    ]


def parts(calls: list[list[str]]) -> list[str]:
    return sorted(call[call.index("--shard") + 1] for call in calls)


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Options]]:
    """The options that each engine was given; all run their jobs here."""
    found: list[tuple[str, Options]] = []

    def engine(name: str) -> Executor:
        @contextmanager
        def session(options: Options, workers: int, folder: Path) -> Iterator[Submit]:
            found.append((name, options))
            yield lambda jobs: [Ran(here, job) for job in jobs]

        return Executor(name, session)

    monkeypatch.setattr(registry, "EXECUTORS", tuple(engine(each.name) for each in registry.EXECUTORS))
    return found


def test_its_commands_run(command: Command, empty_bank: Path, engines: list[tuple[str, Options]]) -> None:
    lines = [line[2:] for text in of("console") for line in text.splitlines()]
    assert len(lines) == 8
    for number, line in enumerate(lines):
        words = shlex.split(line.replace(STORE, "memory://page/bank"))[1:]
        here_ = words[:2] == ["bank", "fill"] and "--executor" in words
        done = command(*words, *(["--bank", f"bank{number}"] if here_ else []))
        assert done.returncode in (0, 3), (line, done.stderr)
    assert engines == [
        ("submitit", {"slurm_partition": "gpu", "gpus_per_node": 1}),
        ("ray", {"address": "auto", "num_gpus": 1}),
        ("dask", {"address": "tcp://scheduler:8786"}),
        ("joblib", {}),
    ]
    assert Store("memory://page/bank").models() == list(range(16))


def test_its_settings_are_settings() -> None:
    settings = Settings.model_validate(tomllib.loads(*of("toml")))
    assert settings.audit.executor == "submitit"
    assert settings.executor == {"slurm_partition": "gpu", "gpus_per_node": 1, "timeout_min": 120}


def test_its_array_of_slurm_fills_every_shard(tmp_path: Path) -> None:
    (text,) = of("bash")
    assert "--array=1-16\n" in text
    calls = shards(text, [{"SLURM_ARRAY_TASK_ID": str(task)} for task in range(1, 17)], tmp_path)
    assert parts(calls) == sorted(f"{part}/16" for part in range(1, 17))


def test_its_job_of_kubernetes_fills_every_shard(tmp_path: Path, command: Command, empty_bank: Path) -> None:
    job = yaml.safe_load(of("yaml")[0])
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    spec: dict[str, Any] = job["spec"]
    assert spec["completionMode"] == "Indexed"
    (container,) = spec["template"]["spec"]["containers"]
    assert container["command"] == ["sh", "-c"]
    (script,) = container["args"]
    indices = [{"JOB_COMPLETION_INDEX": str(index)} for index in range(spec["completions"])]
    calls = shards(script, indices, tmp_path)
    assert parts(calls) == sorted(f"{part}/16" for part in range(1, 17))
    words = [word.replace(STORE, "memory://kubernetes/bank") for word in calls[0]]
    assert command(*words, "--shadows", 32).returncode == 0
    assert Bank.open(empty_bank).models() == Store("memory://kubernetes/bank").models() == [0, 16]


def test_its_task_of_skypilot_fills_every_shard(tmp_path: Path) -> None:
    task = yaml.safe_load(of("yaml")[1])
    assert task.keys() == {"name", "num_nodes", "resources", "workdir", "setup", "run"}
    nodes = task["num_nodes"]
    ranks = [{"SKYPILOT_NODE_RANK": str(rank), "SKYPILOT_NUM_NODES": str(nodes)} for rank in range(nodes)]
    assert parts(shards(task["run"], ranks, tmp_path)) == sorted(f"{rank + 1}/{nodes}" for rank in range(nodes))


def test_its_snippet_of_python_runs(empty_bank: Path, engines: list[tuple[str, Options]]) -> None:
    (text,) = of("python")
    names: dict[str, Any] = {}
    exec(compile(text.replace("256", "4"), "clusters.md", "exec"), names)
    assert len(names["bank"].models()) == 4
    assert engines == [("ray", {"num_gpus": 1})]
