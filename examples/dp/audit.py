"""Train and audit the digits at ε = 1, 8 and ∞, and draw floors under ceilings: python audit.py [FOLDER]"""

import math
import sys
from pathlib import Path

import recipe as recipes

import memaudit as ma
from memaudit.reports.figures import Theme, render
from memaudit.types import Curve, Figure, FigureKind

SHADOWS, DELTA = 16, 1e-5
CLAIMS = (1, 8, math.inf)


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "dp")
    rows = [audited(folder, epsilon) for epsilon in CLAIMS]
    (folder / "floors.svg").write_bytes(drawn(rows))
    print("\n| ε of the training | the accountant states | floor, this model | floor, shadow models |")
    print("| --- | --- | --- | --- |")
    for epsilon, row in zip(CLAIMS, rows, strict=True):
        print(f"| {epsilon:g} | {row['claim']:.2f} | {row['DP002']:.2f} | {row['DP003']:.2f} |")


def audited(folder: Path, epsilon: float) -> dict[str, float]:
    name = f"{epsilon:g}"
    recipe = getattr(recipes, "recipe" if epsilon == math.inf else f"recipe_{epsilon}")
    bank = ma.fill(folder / name / "bank", recipe, SHADOWS, device="cpu", workers=1)
    members, model = ma.draw_members(recipe), folder / name / "model.safetensors"
    ma.save_target(ma.train(recipe, members, seed=1, device="cpu"), model, members)
    dp = ma.Dp(delta=DELTA) if epsilon < math.inf else ma.Dp(epsilon=1.0, delta=DELTA)  # a false claim
    done = ma.audit(model, recipe, bank, attacks=["lira-online"], fprs=[0.01], dp=dp, device="cpu")
    done.save(folder / name / "report.html")
    found = {r.finding.code: r.finding for r in done.report.results}
    print(f"ε = {name}: {found['DP001'].sentence}")
    for code in ("DP002", "DP003", "CAN004"):
        print(f"  {code} {found[code].sentence}")
    claimed = found["DP001"].notes[0] if epsilon < math.inf else "No ε is promised."
    print(f"  {claimed}")
    stated = ma.Dp(delta=DELTA).claim(model).epsilon if epsilon < math.inf else math.inf
    return {"claim": stated} | {code: found[code].estimate.value for code in ("DP002", "DP003")}


def drawn(rows: list[dict[str, float]]) -> bytes:
    def curve(label: str, key: str) -> Curve:
        values = [row[key] for row in rows if row[key] < math.inf]
        return Curve(x=tuple(map(float, range(len(values)))), y=tuple(values), label=label)

    figure = Figure(
        kind=FigureKind.BITS,
        title="Floors under ceilings",
        x_label="ε of the training",
        y_label="ε",
        curves=(
            curve("ceiling: what the accountant states", "claim"),
            curve("floor: this model", "DP002"),
            curve("floor: shadow models", "DP003"),
        ),
        ticks=tuple("∞" if epsilon == math.inf else f"{epsilon:g}" for epsilon in CLAIMS),
        alt="Lower bounds on ε of three trainings, with ε = 1, 8 and none, beside what the accountant states.",
    )
    return render(figure, Theme.LIGHT)


if __name__ == "__main__":
    main()
