"""What each signal of a generator reveals, and what it costs: the diffusion model and the GAN of examples/diffusion.

    python -m benchmarks.generative FOLDER [--shadows 12] [--only gan]

Fills a bank of each example in the folder, trains a target, audits it, and prints the findings GEN001 to GEN003 with
their tables, and seconds. Rates: 10 % and 5 %, as there are about 100 non-members.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import memaudit as ma
from benchmarks.printing import Clock, markdown

EXAMPLES = Path(__file__).parents[1] / "examples" / "diffusion"
RECIPES = {"diffusion": "recipe.py", "gan": "gan.py"}
RATES = (0.1, 0.05)


def run(name: str, folder: Path, shadows: int) -> None:
    """Fill, train, audit and print one example."""
    from memaudit.recipe import load_recipe

    recipe = load_recipe(str(EXAMPLES / RECIPES[name]))
    filling = Clock()
    bank = ma.fill(folder / f"bank-{name}", recipe, shadows, workers=1)
    print(f"{name}: bank of {shadows} in {filling}", flush=True)
    members = ma.draw_members(recipe, seed=1)
    model = folder / f"{name}.pt"
    ma.save_target(ma.train(recipe, members, seed=1), model, members)
    auditing = Clock()
    report = ma.audit(model, recipe, bank, fprs=RATES).report
    print(f"audited in {auditing}")
    for result in report.results:
        print(f"  {result.finding.code} {result.finding.sentence}")
        for table in result.finding.tables if result.finding.code.startswith("GEN") else ():
            print(f"\n{markdown(table)}\n")
    for skipped in report.skipped:
        print(f"  {skipped.code} could not run: {skipped.reason}")
    for control in report.controls:
        print(f"  {control.code} {control.passed} {control.sentence}")


def main() -> None:
    """Run one example, or both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shadows", type=int, default=12)
    parser.add_argument("--only", choices=tuple(RECIPES))
    given = parser.parse_args()
    sys.path.insert(0, str(EXAMPLES))
    for name in RECIPES if given.only is None else (given.only,):
        run(name, given.folder, given.shadows)


if __name__ == "__main__":
    main()
