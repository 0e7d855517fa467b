"""`memaudit canary make|plant|check`."""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from stat import S_IMODE
from typing import TYPE_CHECKING, Any

import click

from memaudit.errors import MemauditError, SettingsError
from memaudit.files import write_synced

if TYPE_CHECKING:
    from memaudit.canaries import Manifest
    from memaudit.recipe.canaries_file import Line
    from memaudit.recipe.rendering import Renderer

_PRIVATE, _PUBLIC = 0o600, 0o666
_SEED_BITS, _LEAST_SEED_BITS = 128, 64
_SHOWN = 10
_ANY_LENGTH = 1 << 20  # a context that no canary is cut off at

_file = click.Path(path_type=Path, dir_okay=False)
_folder = click.Path(path_type=Path, file_okay=False)
_force = click.option("--force", is_flag=True, help="Replace existing files.")


@click.group()
def command() -> None:
    """Create canaries, plant them in a language model's training data, and verify the planted data.

    An audit then measures their exposure in bits.
    """


@command.command(short_help="Create canaries.")
@click.option("--count", type=int, default=16, show_default=True, help="Number of canaries.")
@click.option("--family", default="numeric", show_default=True, help="numeric, alphanumeric, email or tokens.")
@click.option("--length", type=int, help="Symbols in a secret; by default the family's.")
@click.option("--template", help="Text with {name}, and after it {secret}; by default the family's.")
@click.option("--tokenizer", type=_folder, help="Make canaries that suit the tokenizer in this folder.")
@click.option("--spaced/--no-spaced", default=None, help="Symbols with a leading space, or bare ones.")
@click.option("--seed", type=click.IntRange(0), help="By default 128 random bits; whoever knows it knows every secret.")
@click.option("-o", "--output", type=_file, required=True, help="Such as canaries.json.")
@_force
def make(tokenizer: Path | None, seed: int | None, output: Path, force: bool, **options: Any) -> None:
    """Create canaries: random secrets, each with its own prefix.

    With --tokenizer every symbol of a secret is one token, bare or with a leading space, so that secrets can be
    ranked. The family "tokens" has words of the tokenizer as its symbols.
    """
    from memaudit.canaries import P_EXPOSED_BITS, Manifest
    from memaudit.canaries import make as make_canaries
    from memaudit.recipe.canaries_file import CHECKED
    from memaudit.recipe.suited import suited

    _require_free([output], [], force)
    if tokenizer is None and options["family"] == "tokens":
        raise SettingsError("the symbols of --family tokens are words of a tokenizer; give --tokenizer")
    seed = secrets.randbits(_SEED_BITS) if seed is None else _doubted(seed)
    if tokenizer is None:
        checked, canaries = None, make_canaries(seed=seed, **options)
        _note("not checked with a tokenizer: give --tokenizer for secrets that can be ranked")
    else:
        renderer = _renderer(tokenizer, _ANY_LENGTH)
        checked, canaries = renderer.digest(), suited(renderer, str.__add__, seed=seed, **options)
    made = Manifest(seed, 0, canaries, ((),) * len(canaries))
    _write({output: (_json({**made.to_json(), CHECKED: checked}), _PRIVATE)})
    bits = math.log2(canaries[0].space.size)
    if bits < P_EXPOSED_BITS:
        _note(f"secrets of {bits:.1f} bits are too short: a test at 1% false positives needs {P_EXPOSED_BITS:.1f}")
    click.echo(f"{output}: {len(canaries)} canaries of {bits:.1f} bits; keep it private")


@command.command(short_help="Plant canaries in training data.")
@click.argument("canaries", type=_file)
@click.argument("train", type=_file)
@click.option("-o", "--output", type=_file, required=True, help="Such as planted.jsonl.")
@click.option("--field", default="text", show_default=True, help="Column of the text.")
@click.option("--levels", default="0,1,2,4,8,16", show_default=True, help="Numbers of copies, dealt at random.")
@click.option("--seed", type=click.IntRange(0), help="Of copies and rows; by default the canaries' own.")
@click.option("--tokenizer", type=_folder, help="Check that the canaries reach training whole; needs --context.")
@click.option("--context", type=int, help="Tokens in a training row.")
@_force
def plant(
    canaries: Path,
    train: Path,
    output: Path,
    field: str,
    levels: str,
    seed: int | None,
    tokenizer: Path | None,
    context: int | None,
    force: bool,
) -> None:
    """Plant the canaries of a file in training data, each with a random number of copies.

    TRAIN is JSON Lines, or one JSON array, of strings or of objects: with a text; with prompt and completion; with
    messages; with conversations (ShareGPT); or with instruction and output (Alpaca). Existing records are not changed.
    Canaries get the most frequent system message. Beside planted.jsonl the command writes three files:
    planted.manifest.json, to keep private; planted.public.json, which commits to the secrets without showing them, to
    publish before training; and planted.canaries.csv for the members file.

    With --tokenizer and --context the records are rendered as memaudit.Rendering does, between BOS and EOS, and
    nothing is written if a canary is cut off, masked, or does not occur as often as it was planted.
    """
    from memaudit.canaries import randomised_doses
    from memaudit.recipe.canaries_file import lines_of, plant_lines, read_manifest
    from memaudit.recipe.record_files import read_records

    _require_both(tokenizer, context)
    hidden, public, names = (output.with_suffix(f".{end}") for end in ("manifest.json", "public.json", "canaries.csv"))
    _require_free([output, hidden, public, names], [canaries, train], force)
    made = read_manifest(canaries)
    seed = made.seed if seed is None else _doubted(seed)
    doses = randomised_doses(seed, made.canaries, _levels(levels))
    file = read_records(train)
    lines, manifest = plant_lines(
        lines_of(file, field), made.canaries, doses, seed=seed, field=field, dumped=file.dumped
    )
    if tokenizer is not None and context is not None:
        _require_survival(lines, manifest, _renderer(tokenizer, context))
    else:
        _note("The canaries were not checked for truncation and masking: give --tokenizer and --context.")
    copies = [name for name, dose in doses.items() for _ in range(dose)]
    rows = [line.line if line.row is None else line.row for line in lines]
    _write(
        {
            hidden: (_json(manifest.to_json()), _PRIVATE),
            public: (_json(manifest.public()), _PUBLIC),
            names: (_joined(copies), _PRIVATE),
            output: (file.with_records(rows).encode(), S_IMODE(train.stat().st_mode)),
        }
    )
    click.echo(f"{output}: {len(copies)} copies of {len(doses)} canaries in {len(lines)} records; train on it")
    click.echo(f"{hidden}: keep it private")
    click.echo(f"{public}: publish it before training")
    click.echo(f"{names}: append it to the ids in the model's members file")
    _note(f'in the recipe: the documents of {train}, and Probes(canaries=memaudit.read_canaries("{hidden}"))')


@command.command(short_help="Checks a manifest, and whether training data hold the canaries.")
@click.argument("public", type=_file)
@click.argument("manifest", type=_file)
@click.option("--train", type=_file, help="The data that the model is trained on: count the canaries in it.")
@click.option("--field", default="text", show_default=True, help="Column of the text.")
@click.option("--tokenizer", type=_folder, help="Count them in tokens, as training sees them; needs --context.")
@click.option("--context", type=int, help="Tokens in a training row.")
def check(
    public: Path, manifest: Path, train: Path | None, field: str, tokenizer: Path | None, context: int | None
) -> None:
    """Compare a manifest with its public half, and training data with both; exit 0, or 2 with the differences.

    With --train, every canary must occur in the data as often as it was planted. With --tokenizer and --context, the
    records are rendered as by memaudit.Rendering and searched for the tokens that an audit uses. A canary that is cut
    off, masked, or tokenized differently than alone does not count.
    """
    from memaudit.canaries import drawn_by, verify
    from memaudit.recipe.canaries_file import read_json, read_lines, read_manifest

    _require_both(tokenizer, context)
    if tokenizer is not None and train is None:
        raise SettingsError("--tokenizer counts canaries in training data; give --train")
    published = read_json(public)
    if not isinstance(published, dict) or "seed" in published:  # the differences would be secrets
        raise SettingsError(f"{public} is not the public half of a manifest")
    own = read_manifest(manifest)
    if differences := verify(published, own):
        more = [f"… and {len(differences) - _SHOWN} more"] if len(differences) > _SHOWN else []
        raise SettingsError("\n  ".join([f"{manifest} does not match {public}:", *differences[:_SHOWN], *more]))
    if train is not None:
        lines = read_lines(train, field)
        if tokenizer is not None and context is not None:
            _require_survival(lines, own, _renderer(tokenizer, context))
        else:
            _require_present(train, lines, own)
            _note("Compared as text only. Give --tokenizer and --context to check for truncation and masking.")
    click.echo(f"{manifest} matches {public}")
    if drawn_by(own.seed, own.canaries):
        click.echo("The secrets are those drawn with the committed seed, so they were not chosen.")
    else:
        _note(
            "The secrets are not those drawn with the manifest's seed, so they may have been chosen. "
            "Plant with the seed of `canary make`."
        )


def _require_both(tokenizer: Path | None, context: int | None) -> None:
    if (tokenizer is None) != (context is None):
        raise SettingsError("--tokenizer and --context go together: give both or neither")


def _require_present(train: Path, lines: Sequence[Line], manifest: Manifest) -> None:
    """Raise SettingsError unless every canary's text occurs in the data as often as it was planted."""
    from memaudit.recipe.canaries_file import occurrences

    counts = occurrences(lines, manifest.canaries)
    wrong = [
        f"{canary.name}: planted {dose} times, found {count} times"
        for canary, dose, count in zip(manifest.canaries, manifest.doses, counts, strict=True)
        if count != dose
    ]
    if wrong:
        more = [f"… and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else []
        raise SettingsError("\n  ".join([f"{train} does not contain the canaries as planted:", *wrong[:_SHOWN], *more]))


def _require_survival(lines: Sequence[Line], manifest: Manifest, renderer: Renderer) -> None:
    """Show how often each canary occurs in the training rows; raises RecipeError if that is not its dose."""
    from memaudit.canaries import require_survival
    from memaudit.recipe.canaries_file import planted_survival

    found = planted_survival(renderer, lines, manifest.canaries)
    names = [canary.name for canary in manifest.canaries]
    width = max(len("canary"), *map(len, names))
    click.echo(f"{'canary':<{width}}  dose  whole  masked  cut")
    for name, *counts in zip(names, manifest.doses, found.whole, found.masked, found.cut, strict=True):
        click.echo(f"{name:<{width}}  {'{:>4}  {:>5}  {:>6}  {:>3}'.format(*counts)}")
    require_survival(found, manifest.doses, names)


def _renderer(folder: Path, context: int) -> Renderer:
    """Return a renderer that puts BOS and EOS around a text if the tokenizer has them."""
    from memaudit.recipe.rendering import Renderer, Rendering

    tokenizer = Renderer(Rendering(folder, context, bos=False, eos=False)).tokenizer
    bos, eos = tokenizer.bos_token_id is not None, tokenizer.eos_token_id is not None
    return Renderer(Rendering(lambda: tokenizer, context, bos=bos, eos=eos))


def _levels(text: str) -> list[int]:
    from memaudit.recipe.recipes import MOST_COPIES

    levels = [int(level) if level.strip().isdecimal() else -1 for level in text.split(",")]
    if not all(0 <= level <= MOST_COPIES for level in levels) or not any(levels):
        raise SettingsError(f"--levels are numbers from 0 to {MOST_COPIES}, such as 0,1,2,4, got {text!r}")
    return levels


def _doubted(seed: int) -> int:
    if seed.bit_length() < _LEAST_SEED_BITS:
        _note("This seed is short: it can be guessed, and with it every secret. Use it for trials only.")
    return seed


def _require_free(outputs: Iterable[Path], inputs: Iterable[Path], force: bool) -> None:
    read = {path.resolve() for path in inputs}
    for path in outputs:
        if path.resolve() in read:
            raise SettingsError(f"{path} is an input; give --output another name")
        if path.exists() and not force:
            raise SettingsError(f"{path} exists already; --force replaces it")


def _write(files: Mapping[Path, tuple[bytes, int]]) -> None:
    """Write files with their modes, each whole; if one cannot be written, all stay as they were."""
    drafts = {path: path.with_name(f".{path.name}-{secrets.token_hex(4)}") for path in files}
    try:
        for path, (data, mode) in files.items():
            write_synced(drafts[path], data, mode)
        for path, draft in drafts.items():
            draft.replace(path)
    except OSError as error:
        raise MemauditError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)


def _json(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=1) + "\n").encode()


def _joined(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _note(text: str) -> None:
    click.echo(text, err=True)
