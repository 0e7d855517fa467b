"""What a process pays before and while it trains and scores: imports, starts, memory; and that no number changes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import memaudit as ma
from memaudit.signals import example_losses
from memaudit.signals.example_losses import ExampleLosses, read
from memaudit.training import machine

ROOT = Path(__file__).parents[1]


def run(code: str, **environment: str) -> str:
    """Returns what a new process prints."""
    known = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | environment
    done = subprocess.run([sys.executable, "-c", code], env=known, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# --- Optimizers -----------------------------------------------------------------------------------------------------

SAME: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "sgd": (
        ma.SGD(lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True, fused=True),
    ),
    "adamw": (
        ma.AdamW(lr=0.01, betas=(0.8, 0.99), weight_decay=0.1),
        lambda p: torch.optim.AdamW(p, lr=0.01, betas=(0.8, 0.99), weight_decay=0.1, fused=True),
    ),
}


@pytest.mark.parametrize("kind", SAME)
def test_an_optimizer_makes_the_steps_of_torchs_own_bit_for_bit(kind: str) -> None:
    """Also through a state that is saved and loaded, a group that is added, hooks, and a closure."""
    ends, states = [], []
    for make in SAME[kind]:
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 3))
        optimizer = make(net[0].parameters())
        optimizer.add_param_group({"params": list(net[2].parameters()), "lr": 0.02})
        stepped: list[int] = []
        optimizer.register_step_post_hook(lambda *_: stepped.append(1))  # noqa: B023

        def closure() -> torch.Tensor:
            optimizer.zero_grad()  # noqa: B023
            loss: torch.Tensor = net(torch.ones(4, 5)).square().mean()  # noqa: B023
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        for _ in range(3):
            assert float(optimizer.step(closure).detach()) > 0
        kept = optimizer.state_dict()
        optimizer = make([{"params": list(net[0].parameters())}, {"params": list(net[2].parameters())}])
        optimizer.load_state_dict(kept)
        for _ in range(3):
            optimizer.step(closure)
        assert len(stepped) == 3
        assert all(p.grad_fn is None for p in net.parameters())
        optimizer.zero_grad()
        assert all(p.grad is None for p in net.parameters())
        ends.append(torch.cat([p.detach().flatten() for p in net.parameters()]))
        states.append(kept["param_groups"])
    assert torch.equal(*ends)
    assert states[0] == states[1]


def test_a_fill_does_not_import_torchs_compiler() -> None:
    """It takes more than a second and 150 MB; nothing that is trained in the ordinary way is compiled."""
    code = (
        "import sys, tempfile; import memaudit as ma; from memaudit.recipe import load_recipe\n"
        f"recipe = load_recipe({str(ROOT / 'tests/recipes/tiny_recipe.py')!r})\n"
        "ma.fill(tempfile.mkdtemp() + '/bank', recipe, 2, device='cpu')\n"
        "print('torch._dynamo' in sys.modules)"
    )
    assert run(code) == "False"


# --- Worker processes -----------------------------------------------------------------------------------------------


def _seen() -> tuple[str | None, bool, int]:
    """Returns a variable, whether torch was there at once, and the threads of the parent process."""
    threads = len(list(Path(f"/proc/{os.getppid()}/task").iterdir())) if Path("/proc").exists() else 1
    return os.environ.get("HOT_PATH"), "torch" in sys.modules, threads


@pytest.fixture
def variable(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    yield lambda value: monkeypatch.setenv("HOT_PATH", value)


def test_workers_have_the_environment_of_now_and_the_imports_of_a_server(variable: Callable[[str], None]) -> None:
    """Not that of when the server started; and the server has no threads of its own when it forks."""
    from concurrent.futures import ProcessPoolExecutor

    import sklearn.base  # noqa: F401  # which starts a thread; the server must not import it

    from memaudit.training.filling import _follow_parent

    for value in ("first", "second"):
        variable(value)
        with ProcessPoolExecutor(1, machine.starting(), _follow_parent, (dict(os.environ),)) as pool:
            seen, loaded, threads = pool.submit(_seen).result()
        assert seen == value
        assert loaded
        if machine.starting().get_start_method() == "forkserver":
            assert threads == 1


@pytest.mark.parametrize(("platform", "gpu", "method"), [
    ("linux", False, "forkserver"), ("linux", True, "spawn"), ("darwin", False, "spawn"), ("win32", False, "spawn"),
])  # fmt: skip
def test_processes_are_forks_only_where_that_is_safe(
    platform: str, gpu: bool, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: gpu)
    assert machine.starting().get_start_method() == method


# --- Many classes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [None, "probabilities", "one-vs-rest"])
def test_what_outputs_say_is_read_a_few_at_a_time(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    outputs = rng.dirichlet(np.ones(9), 50).astype(np.float32)
    examples = ma.Examples(rng.normal(size=(50, 2)), rng.integers(0, 9, 50))
    whole = read(outputs, examples, slice(0, 50), kind)
    seen: list[int] = []
    own = ExampleLosses.read

    def noting(self: ExampleLosses, some: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
        seen.append(some.numel())
        return own(self, some, y)

    monkeypatch.setattr(ExampleLosses, "read", noting)
    monkeypatch.setattr(example_losses, "_SPAN", 40)
    parts = read(outputs, examples, slice(0, 50), kind)
    assert max(seen) <= 40
    assert sum(seen) == outputs.size
    for name, values in whole.items():
        np.testing.assert_allclose(parts[name], values, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of a process from /proc")
def test_scoring_21000_classes_needs_less_than_two_batches_of_logits() -> None:
    """64 MiB a batch. Of what is freed malloc keeps some: here it is told to give back all that is large."""
    code = (
        "import numpy as np, torch, memaudit as ma; from memaudit.signals import measure\n"
        "torch.set_num_threads(1); rng = np.random.default_rng(0); net = torch.nn.Linear(8, 21000)\n"
        "def examples(n): return ma.Examples(\n"
        "    rng.normal(size=(n, 8)).astype(np.float32), np.r_[rng.integers(0, 21000, n - 1), 20999])\n"
        "def kib(key): return int(open('/proc/self/status').read().split(key + ':')[1].split()[0])\n"
        "measure(net, examples(200), look=True); many = examples(2600); open('/proc/self/clear_refs', 'w').write('5')\n"
        "before = kib('VmRSS'); measure(net, many, look=True); print(kib('VmHWM') - before)"
    )
    assert int(run(code, MALLOC_MMAP_THRESHOLD_="1000000")) < 2 * 64 * 1024
