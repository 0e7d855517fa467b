"""Jobs on engines: the same bank as without, whoever dies, and an error that comes back as what it is.

The rounds are tested on an engine that runs its jobs here; the engines themselves, with their real local clusters, by
one test each.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from test_fill import contents

import memaudit as ma
from memaudit.bank import Bank
from memaudit.errors import BankError, RecipeError, SettingsError
from memaudit.training.executors import (
    Elsewhere,
    Executor,
    Job,
    Options,
    Outcome,
    Submit,
    executor,
    imported,
    registry,
    rounds,
)
from memaudit.training.executors import job as jobs

Command = Callable[..., CompletedProcess[str]]
Complaint = Callable[..., str]
RECIPES = Path(__file__).parent / "recipes"
SHADOWS = 8

MORTAL = """
import os, signal
from pathlib import Path

HERE = Path(__file__).parent

def dying():
    if len(os.listdir(HERE / "bank" / "models")) >= 2 and not (HERE / "died").exists():
        (HERE / "died").touch()
        {who}
        os.kill(os.getpid(), signal.SIGKILL)

"""


def written(folder: Path, name: str, who: str | None = None) -> str:
    """Where a recipe is that trains in a hundredth of a second, and dies once in its third training if asked to."""
    text = (RECIPES / "tiny_recipe.py").read_text("utf-8").replace("epochs=40", "epochs=2")
    if who is not None:
        text = text.replace("import numpy", f"{MORTAL.format(who=who)}import numpy")
        text = text.replace("    return nn.Sequential", "    dying()\n    return nn.Sequential")
    (folder / f"{name}.py").write_text(text, "utf-8")
    return f"{folder / name}.py:recipe"


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield written(tmp_path_factory.mktemp("executors"), "executed")
    sys.modules.pop("executed", None)


@pytest.fixture(scope="module")
def whole(quick: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "bank"
    ma.fill(folder, quick, SHADOWS, device="cpu")
    return folder


class Ran:
    """A job of the engine that runs its jobs here, when it is asked for their results."""

    def __init__(self, run: Callable[[Job], Outcome], job: Job):
        self.run, self.job, self.cancelled = run, job, False

    def done(self) -> bool:
        return True

    def result(self) -> Outcome:
        return self.run(self.job)

    def cancel(self) -> None:
        self.cancelled = True


class Engine:
    """Runs jobs here, by `run`; remembers what it was given."""

    def __init__(self, run: Callable[[Job], Outcome]):
        self.run, self.rounds = run, list[list[Ran]]()
        self.given: tuple[Options, int, Path] | None = None

    @contextmanager
    def session(self, options: Options, workers: int, folder: Path) -> Iterator[Submit]:
        self.given = options, workers, folder

        def submit(jobs: Sequence[Job]) -> list[Ran]:
            self.rounds.append([Ran(self.run, job) for job in jobs])
            return self.rounds[-1]

        yield submit


def here(job: Job) -> Outcome:
    """What `run` does, in this process."""
    return Outcome("here", tuple(jobs.work(job)))


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Job], Outcome]], Engine]:
    """Makes the engine that an executor called "fake" uses."""
    monkeypatch.chdir(Path.cwd())  # jobs change it

    def made(run: Callable[[Job], Outcome]) -> Engine:
        found = Engine(run)
        monkeypatch.setattr(registry, "EXECUTORS", (*registry.EXECUTORS, Executor("fake", found.session)))
        return found

    return made


Made = Callable[[Callable[[Job], Outcome]], Engine]


def test_jobs_make_the_same_bank_and_leave_nothing_else(quick: str, whole: Path, tmp_path: Path, engine: Made) -> None:
    seen: list[ma.Progress] = []
    on = engine(here)
    ma.fill(tmp_path / "bank", quick, SHADOWS, workers=3, executor="fake", options={"a": 1}, progress=seen.append)
    assert contents(tmp_path / "bank") == contents(whole)
    assert on.given is not None
    assert on.given[:2] == ({"a": 1}, 3)
    assert sorted(len(ran.job.models) for ran in on.rounds[0]) == [2, 3, 3]
    assert sorted(model for ran in on.rounds[0] for model in ran.job.models) == list(range(SHADOWS))
    assert (seen[0].done, seen[-1].done, seen[-1].total) == (0, SHADOWS, SHADOWS)
    assert list((tmp_path / "bank" / "jobs").iterdir()) == []


def test_a_full_bank_starts_no_engine(quick: str, whole: Path, engine: Made) -> None:
    on = engine(here)
    ma.fill(whole, quick, SHADOWS, workers=3, executor="fake")
    assert on.given is None


def test_what_a_dead_job_has_left_is_submitted_again(quick: str, whole: Path, tmp_path: Path, engine: Made) -> None:
    """The first job dies after one of its models; the next round has what is missing, and nothing else."""
    deaths: list[Job] = []

    def mortal(job: Job) -> Outcome:
        if deaths:
            return here(job)
        deaths.append(job)
        here(replace(job, models=job.models[:1]))
        raise RuntimeError("node failure")

    on = engine(mortal)
    ma.fill(tmp_path / "bank", quick, SHADOWS, workers=2, executor="fake")
    assert sorted(m for ran in on.rounds[1] for m in ran.job.models) == sorted(deaths[0].models[1:])
    assert contents(tmp_path / "bank") == contents(whole)


def test_jobs_that_add_nothing_end_the_fill_with_what_the_engine_says(
    quick: str, tmp_path: Path, engine: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(job: Job) -> Outcome:
        raise RuntimeError("slurmstepd: Exceeded job memory limit, row 17 of the data")

    on = engine(dies)
    with pytest.raises(
        BankError, match=r"8 models are missing .* of fake added none:\nRuntimeError: slurmstepd"
    ) as told:
        ma.fill(tmp_path / "bank", quick, SHADOWS, workers=2, executor="fake")
    assert len(on.rounds) == 1
    assert on.given is not None
    assert str(on.given[2]) in str(told.value)
    assert on.given[2].is_dir(), "the logs are kept"
    monkeypatch.setenv("CI", "true")
    with pytest.raises(BankError) as told:
        ma.fill(tmp_path / "bank", quick, SHADOWS, workers=2, executor="fake")
    assert "row 17" not in str(told.value)


def test_an_error_of_the_recipe_comes_back_as_such_and_stops_the_other_jobs(
    quick: str, tmp_path: Path, engine: Made
) -> None:
    on = engine(lambda job: Outcome("node7", error="RecipeError", message="shadow model 3: train() returned a dict"))
    with pytest.raises(RecipeError, match=r"^on node7: shadow model 3: train\(\) returned a dict$"):
        ma.fill(tmp_path / "bank", quick, SHADOWS, workers=2, executor="fake")
    assert all(ran.cancelled for ran in on.rounds[0])
    assert not Path(on.rounds[0][0].job.running).exists(), "what the jobs that run look at"


def test_models_that_were_stored_where_nobody_sees_them_are_told(
    quick: str, tmp_path: Path, engine: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "_SETTLE_SECONDS", 0)
    engine(lambda job: Outcome("node7", job.models))
    with pytest.raises(BankError, match=r"8 models in .* that cannot be seen from here.*all machines share"):
        ma.fill(tmp_path / "bank", quick, SHADOWS, workers=2, executor="fake")


def test_an_engine_that_takes_no_jobs_is_named_with_what_it_says(
    quick: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit")
    with pytest.raises(BankError, match=r"submitit took no jobs: NameError: .*'unknown_option'(.|\n)*executor-option"):
        ma.fill(tmp_path / "bank", quick, 2, executor="submitit", options={"cluster": "local", "unknown_option": 1})


# --- The job ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def job(quick: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A job for two models of an empty bank."""
    monkeypatch.chdir(tmp_path)
    ma.fill(tmp_path / "bank", quick, 4, models=[], device="cpu")
    (tmp_path / "running").touch()
    return Job(
        recipe=quick,
        here=str(tmp_path),
        path=(),
        bank=str(tmp_path / "bank"),
        mark=Bank.open(tmp_path / "bank").mark,
        models=(1, 3),
        seed=0,
        device="cpu",
        weights=True,
        running=str(tmp_path / "running"),
        environment={},
    )


def test_a_job_trains_its_models_and_no_others(job: Job, whole: Path) -> None:
    assert jobs.work(job) == [1, 3]
    assert Bank.open(job.bank).models() == [1, 3]
    assert contents(Path(job.bank)).items() <= contents(whole).items()
    assert replace(job, **json.loads(json.dumps({"seed": job.seed, "bank": job.bank}))) == job, (
        "all is text and numbers"
    )


def test_a_job_elsewhere_refuses_what_is_not_the_same(job: Job, tmp_path: Path) -> None:
    """Another recipe, seed or bank there than here would make models that are no shadows of this one."""
    other = written(tmp_path, "altered")
    (tmp_path / "altered.py").write_text((tmp_path / "altered.py").read_text("utf-8").replace("lr=0.1", "lr=0.2"))
    with pytest.raises(BankError, match="was made by another recipe"):
        jobs.work(replace(job, recipe=other))
    with pytest.raises(BankError, match="seed"):
        jobs.work(replace(job, seed=1))
    with pytest.raises(BankError, match="taken over by another recipe"):
        jobs.work(replace(job, mark="0" * 64))
    with pytest.raises(BankError, match=r"no folder /nowhere. The machines of an executor must see"):
        jobs.work(replace(job, bank="/nowhere"))
    with pytest.raises(RecipeError, match=r"no recipe file .*absent\.py"):
        jobs.work(replace(job, recipe="absent.py:recipe"))
    assert Bank.open(job.bank).models() == []


def test_a_recipe_that_does_not_import_there_is_a_recipe_error_here(job: Job, tmp_path: Path) -> None:
    """In a process of its own, as engines run it: what it prints is no answer, and the error comes back by its name."""
    (tmp_path / "broken.py").write_text("print('{}')\nimport a_library_of_the_login_node\n", "utf-8")
    found = jobs.run(replace(job, recipe=str(tmp_path / "broken.py")))
    assert found.error == "RecipeError"
    assert "a_library_of_the_login_node" in found.message
    with pytest.raises(RecipeError, match=r"^on .*broken.py"):
        found.require_well()


def test_a_job_whose_fill_has_ended_ends_too(job: Job) -> None:
    Path(job.running).unlink()
    assert jobs.run(job).models == ()
    assert Bank.open(job.bank).models() == []


@pytest.mark.slow
def test_a_process_that_is_killed_raises_where_the_engine_sees_it(job: Job, tmp_path: Path) -> None:
    recipe = written(tmp_path, "mortal", who="pass")
    ma.fill(tmp_path / "dies" / "bank", recipe, 4, models=[], device="cpu")
    (tmp_path / "bank").rename(tmp_path / "unused")
    (tmp_path / "dies" / "bank").rename(tmp_path / "bank")
    dying = replace(job, recipe=recipe, models=(0, 1, 2, 3), mark=Bank.open(tmp_path / "bank").mark)
    with pytest.raises(RuntimeError, match=r"models 0, 1, 2, 3 on .* ended with code -9 \(out of memory\?\)"):
        jobs.run(dying)
    assert len(Bank.open(tmp_path / "bank").models()) == 2
    assert sorted(jobs.run(dying).models) == [0, 1, 2, 3]


# --- Settings ---------------------------------------------------------------------------------------------------------


def test_what_is_asked_for_wrongly_is_told_before_anything_runs(quick: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no executor 'submitt'; did you mean 'submitit'"):
        ma.fill(tmp_path, quick, 2, executor="submitt")
    with pytest.raises(SettingsError, match=r"name it, such as 'recipe.py:recipe'"):
        Elsewhere.on("ray", None, object(), 1, "cpu")
    with pytest.raises(SettingsError, match=r"needs the package no_such_engine: pip install 'memaudit-toolkit\[ray\]'"):
        imported("no_such_engine", "ray")
    with pytest.raises(SettingsError, match="no model 2: with 2 shadow models they are 0 to 1"):
        ma.fill(tmp_path, quick, 2, models=[2])
    with pytest.raises(SettingsError, match="models or a shard"):
        ma.fill(tmp_path, quick, 2, models=[1], shard=ma.Shard(1, 2))
    assert {executor(name).name for name in ("submitit", "ray", "dask", "joblib")} == {
        each.name for each in registry.EXECUTORS
    }


def test_options_come_from_the_file_and_from_flags(command: Command, empty_bank: Path, engine: Made) -> None:
    """A flag comes before the file; what is JSON is a number or a table, all else is text."""
    on = engine(here)
    settings = Path("memaudit.toml")
    text = settings.read_text("utf-8").replace("shadows = 16", 'shadows = 4\nexecutor = "fake"')
    settings.write_text(f'{text}\n[executor]\nslurm_partition = "cpu"\ntimeout_min = 60\n', "utf-8")
    flags = ("slurm_partition=gpu", 'resources={"GPU": 1}', "slurm_account=a=b")
    done = command("bank", "fill", *(part for flag in flags for part in ("--executor-option", flag)))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("4 of 4") == 1
    assert on.given is not None
    assert on.given[0] == {
        "slurm_partition": "gpu",
        "timeout_min": 60,
        "resources": {"GPU": 1},
        "slurm_account": "a=b",
    }


def test_an_audit_fills_on_an_engine_too(command: Command, empty_bank: Path, engine: Made) -> None:
    on = engine(here)
    done = command("audit", "model.safetensors", "--shadows", 8, "--executor", "fake", "--workers", 2)
    assert done.returncode in (0, 3), done.stderr
    assert [len(ran.job.models) for ran in on.rounds[0]] == [4, 4]


def test_flags_that_make_no_sense_are_named(complaint: Complaint, command: Command, empty_bank: Path) -> None:
    assert "--executor-option is KEY=VALUE" in complaint("bank", "fill", "--executor-option", "gpu")
    assert "--models is a list of numbers" in complaint("bank", "fill", "--models", "1-3")
    settings = Path("memaudit.toml")
    settings.write_text(settings.read_text("utf-8").replace("workers = 1\n", ""), "utf-8")
    assert "say how many jobs" in complaint("bank", "fill", "--executor", "ray")
    assert command("bank", "fill", "--shadows", 4, "--models", "3,1", "--workers", 1).returncode == 0
    assert Bank.open(empty_bank).models() == [1, 3]


# --- Real engines -----------------------------------------------------------------------------------------------------

REAL = {
    "submitit": ("submitit", {"cluster": "local"}),
    "joblib": ("joblib", {}),
    "dask": ("distributed", {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_a_real_engine_makes_the_same_bank(
    name: str, quick: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, options = REAL[name]
    pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    ma.fill(tmp_path / "bank", quick, SHADOWS, workers=2, executor=name, options=options, device="cpu")
    assert contents(tmp_path / "bank") == contents(whole)
    assert list((tmp_path / "bank" / "jobs").iterdir()) == []


@pytest.mark.slow
def test_ray_makes_the_same_bank(quick: str, whole: Path, tmp_path: Path) -> None:
    """As a command: Ray leaves processes to its own exit. On a busy machine its cluster does not start in its 15 s."""
    pytest.importorskip("ray")
    words = ["bank", "fill", "--recipe", quick, "--shadows", SHADOWS, "--workers", 2, "--executor", "ray"]
    arguments = [sys.executable, "-m", "memaudit", *map(str, words), "--device", "cpu"]
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=False)
    if "timed out during startup" in done.stderr:
        pytest.skip("no local cluster of Ray starts on this machine just now")
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "bank") == contents(whole)


@pytest.mark.slow
@pytest.mark.parametrize("who", ["pass", "os.kill(os.getppid(), signal.SIGKILL)"], ids=["training", "its engine too"])
def test_a_job_of_submitit_that_is_killed_in_the_middle_is_done_by_the_next(
    who: str, quick: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit")
    monkeypatch.chdir(tmp_path)
    recipe = written(tmp_path, "killed", who)
    ma.fill(tmp_path / "bank", recipe, 4, executor="submitit", options={"cluster": "local"}, device="cpu")
    assert (tmp_path / "died").exists()
    assert Bank.open(tmp_path / "bank").models() == [0, 1, 2, 3]
    assert [Bank.open(tmp_path / "bank").damage(model) for model in range(4)] == [None] * 4
    names = [name for name in contents(whole) if name.startswith(("models/0000/s", "models/0001/s"))]
    assert {name: contents(tmp_path / "bank")[name] for name in names} == {n: contents(whole)[n] for n in names}
    assert os.listdir(tmp_path / "bank" / "jobs") == []  # noqa: PTH208
