"""Signed audits: who made a report, and that it is about one model.

An audit is signed by a DSSE envelope over its in-toto statement, with Ed25519. It is beside the report and is written
last: a killed audit leaves none. What is signed are digests of the report, of the model, of the limits, of the plan and
of the ledger's entry, so that none of them can be exchanged.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from memaudit.auditing.folder import SIGNATURE
from memaudit.errors import SettingsError
from memaudit.files import write_synced, write_whole
from memaudit.reports import canonical, dsse, intoto
from memaudit.types import Report

PASSWORD = "MEMAUDIT_KEY_PASSWORD"
_VARIABLE = "env:"
_LONGEST = 2**20  # bytes of a key or an envelope
_LONGEST_PASSWORD = 1023  # bytes that OpenSSL encrypts a key with
_NEW = "memaudit key KEY.pem makes a pair"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that signatures are checked with, and where it comes from."""

    place: str
    key: Ed25519PublicKey

    @property
    def name(self) -> str:
        """Return the SHA-256 of the key as `openssl pkey -pubout -outform DER` writes it."""
        return key_name(self.key)


def key_name(key: Ed25519PublicKey) -> str:
    """Return the name of a key: the SHA-256 of its SubjectPublicKeyInfo in DER."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(key.public_bytes(serialization.Encoding.DER, form)).hexdigest()


def make_pair(path: Path) -> Path:
    """Return the place of the public key after writing a pair: the private key to `path`, readable by its owner alone.

    It is encrypted if the environment variable MEMAUDIT_KEY_PASSWORD has a password.

    Raises:
        SettingsError: One of the files is there already, or cannot be written.
    """
    if not path.name:
        raise SettingsError("a key needs a name, as in KEY.pem")
    public = path.with_suffix(".pub")
    if public == path:
        raise SettingsError(f"{path}: that is where the public key goes; name the private one, as in KEY.pem")
    for place in (path, public):
        if os.path.lexists(place):
            raise SettingsError(f"{place} is there already; a key that is written over is lost")
    key, password = Ed25519PrivateKey.generate(), _password()
    if password is not None and len(password) > _LONGEST_PASSWORD:
        raise SettingsError(f"{PASSWORD} has more than {_LONGEST_PASSWORD} bytes")
    encryption = serialization.NoEncryption() if password is None else serialization.BestAvailableEncryption(password)
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    try:
        write_synced(path, key.private_bytes(pem, pkcs8, encryption), 0o600)
        write_synced(public, key.public_key().public_bytes(pem, form))
    except OSError as error:
        raise SettingsError(f"the keys cannot be written to {path} and {public}: {error.strerror}") from error
    return public


def private_key(source: str) -> Ed25519PrivateKey:
    """Return the private key of a PEM file, or of the environment variable NAME if `source` is `env:NAME`.

    Raises:
        SettingsError: There is none, it is no Ed25519 key, its password is wrong, or others may read the file.
    """
    if source.startswith(_VARIABLE):
        content = os.environ.get(source.removeprefix(_VARIABLE), "").encode()
        if not content:
            raise SettingsError(f"the environment variable {source.removeprefix(_VARIABLE)} holds no key")
    else:
        content = _private(Path(source))
    try:
        key = serialization.load_pem_private_key(content, _password())
    except TypeError:  # the library's word for it
        given = "is encrypted: put its password into" if _password() is None else "is not encrypted: unset"
        raise SettingsError(f"the key {source} {given} {PASSWORD}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise SettingsError(
            f"{source} is no private key in PEM (PKCS #8), or {PASSWORD} is not its password; {_NEW}"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(f"the key {source} is {_kind(key)}, but audits are signed with Ed25519; {_NEW}")
    return key


def public_key(path: Path) -> PublicKey:
    """Return the public key of a PEM file.

    Raises:
        SettingsError: There is none, or it is no Ed25519 key.
    """
    content = _bytes(path)
    if b"PRIVATE KEY" in content:
        raise SettingsError(f"{path} is a private key, which only the audit may have; name the public one: KEY.pub")
    try:
        key = serialization.load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        raise SettingsError(f"{path} is no public key in PEM; {_NEW}, and its .pub is the public one") from None
    if not isinstance(key, Ed25519PublicKey):
        raise SettingsError(f"the key {path} is {_kind(key)}, but audits are signed with Ed25519; {_NEW}")
    return PublicKey(str(path), key)


def sign(report: Report, folder: Path, key: Ed25519PrivateKey) -> Path:
    """Return the file with a report's signature, which is written into the report's folder."""
    unsigned = dsse.Envelope(intoto.whole(report), ())
    signature = key_name(key.public_key()), key.sign(unsigned.signed)
    write_whole(folder / SIGNATURE, dsse.render(dsse.Envelope(unsigned.payload, (signature,))))
    return folder / SIGNATURE


def verify(report: Report, file: Path, keys: Sequence[PublicKey] = ()) -> tuple[list[str], list[str]]:
    """Return what the signature beside a report shows, and all that is wrong with it.

    Args:
        report: As it was loaded.
        file: Its file.
        keys: Any of these must have signed; with none, it is only seen whether the signature is about this report.
    """
    path = file.with_name(SIGNATURE)
    if keys and not path.exists():
        return [], [f"{file} is not signed: there is no {SIGNATURE} beside it (memaudit audit --sign)"]
    try:
        envelope = dsse.read(_bytes(path))
        statement = canonical.parse(envelope.payload)
    except (SettingsError, ValueError, RecursionError) as error:
        return [], [f"{path} is no signature of an audit: {error}"]
    told, problems = [], []
    if keys:
        signer = next((key for key in keys for _, sig in envelope.signatures if _signed(key, envelope, sig)), None)
        if signer is None:
            problems.append(f"{path} is not signed with {' or '.join(key.place for key in keys)}")
        else:
            told.append(f"signed with {signer.place} (SHA-256 {signer.name[:16]}…)")
    if envelope.payload_type != dsse.PAYLOAD_TYPE:
        problems.append(f"{path} holds no in-toto statement")
    about = intoto.subjects(statement)
    if about.get("model") != report.subject.sha256.lower():
        problems.append(f"{path} is about another model than {file}")
    if about.get("report") != canonical.digest(file.read_bytes()):
        problems.append(f"{path} is about another report: {file} was changed after it was signed")
    return told, problems


def _signed(key: PublicKey, envelope: dsse.Envelope, signature: bytes) -> bool:
    try:
        key.key.verify(signature, envelope.signed)
    except InvalidSignature:
        return False
    return True


def _private(path: Path) -> bytes:
    content = _bytes(path)
    mode = stat.S_IMODE(path.stat().st_mode)
    if os.name == "posix" and mode & 0o077:
        raise SettingsError(
            f"{path} can be read or written by others (mode {mode:04o}): chmod 600 {path}, or give the key in an "
            "environment variable: --sign env:NAME"
        )
    return content


def _bytes(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise SettingsError(f"there is no file {path}")
        with path.open("rb") as file:
            content = file.read(_LONGEST + 1)
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > _LONGEST:
        raise SettingsError(f"{path} has more than {_LONGEST // 2**20} MiB")
    return content


def _password() -> bytes | None:
    password = os.environ.get(PASSWORD)
    return password.encode() if password else None


def _kind(key: object) -> str:
    name = type(key).__name__.removeprefix("_").removesuffix("PrivateKey").removesuffix("PublicKey")
    known = {"RSA": "an RSA key", "DSA": "a DSA key", "EllipticCurve": "an ECDSA key", "EC": "an ECDSA key"}
    return known.get(name, f"a key of kind {name}")
