"""`memaudit key KEY.pem`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("file", metavar="KEY.pem", type=click.Path(path_type=Path, dir_okay=False))
def command(file: Path) -> None:
    """Create a pair of Ed25519 keys: the private KEY.pem for memaudit audit --sign, and KEY.pub for the gate.

    Keep KEY.pem where only the audit can read it. It is encrypted if MEMAUDIT_KEY_PASSWORD holds a password, which the
    audit then needs, too. The same as: openssl genpkey -algorithm ed25519; openssl pkey -pubout.
    """
    from memaudit.auditing.signing import make_pair

    click.echo(f"{file} signs; {make_pair(file)} is what a gate needs: memaudit gate --require-signature")
