"""`memaudit bank push|pull`: share a bank by object storage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from memaudit.cli.common import Job, job, store_option
from memaudit.errors import BankError, SettingsError

if TYPE_CHECKING:
    from memaudit.bank import Store

_config = click.option(
    "--config", type=click.Path(path_type=Path), help="Settings; by default the nearest memaudit.toml."
)
_bank = click.option("--bank", help="Folder of the bank.")


@click.command()
@_config
@_bank
@store_option
def push(config: Path | None, bank: str | None, store: str | None) -> None:
    """Add to the store what it lacks of the bank's models.

    A model's marker is written last, so that an interrupted push leaves nothing that is read.
    """
    from memaudit.bank import Bank

    call = job(config, bank=bank, store=store)
    target = _store(call)
    done = target.push(Bank.open(call.place(call.audit.bank)))
    click.echo(f"{target.url}: {len(done)} models added, {len(target.models())} in all")


@click.command()
@_config
@_bank
@store_option
def pull(config: Path | None, bank: str | None, store: str | None) -> None:
    """Add to the bank what it lacks of the store's models.

    Every file is checked against its checksum.
    """
    call = job(config, bank=bank, store=store)
    source = _store(call)
    found = source.pull(call.place(call.audit.bank))
    if found is None:
        raise BankError(f"there is no bank in {source.url}; `memaudit bank fill --store` and `bank push` write one")
    click.echo(f"{found.path}: {len(found.models())} shadow models")


def _store(call: Job) -> Store:
    if call.store is None:
        raise SettingsError("name the store: --store s3://bucket/folder, or store in [audit]")
    return call.store
