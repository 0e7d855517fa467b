"""Signed audits: the envelope is standard DSSE, and the gate refuses whatever was not signed as it is."""

import base64
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf import json_format
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement

from memaudit import reports, stats
from memaudit.auditing.folder import DIGEST, SIGNATURE, SUMS, seal, sha256
from memaudit.auditing.signing import PASSWORD, make_pair, private_key, public_key, sign, verify
from memaudit.cli.settings import read
from memaudit.errors import SettingsError
from memaudit.policy import hold
from memaudit.reports import dsse
from memaudit.reports.canonical import digest
from memaudit.types import Attempt, Control, Estimate, Finding, Report, Result, Subject, Verdict

Command = Callable[..., CompletedProcess[str]]
Complaint = Callable[..., str]

GATE = '[[gate]]\nid = "low-fpr"\nmetric = "tpr"\nattack = "lira-online"\nat_fpr = 0.01\nmax = 0.1\n'
PEM = serialization.Encoding.PEM
PKCS8 = serialization.PrivateFormat.PKCS8


def _report(sha: str, settings: Path) -> Report:
    low, high = map(float, stats.clopper_pearson(60, 1000))
    finding = Finding(
        code="MIA001",
        title="LiRA",
        metric="tpr",
        attack="lira-online",
        at_fpr=0.01,
        estimate=Estimate(value=0.06, low=low, high=high, unit="share", method="Clopper–Pearson"),
        sentence="s",
        n=1000,
        counted="training examples",
        source="s",
    )
    found = Report(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        subject=Subject(model="model.pt", sha256=sha, members=1000, nonmembers=1000, shadows=16),
        results=(Result(finding=finding, verdict=Verdict.NOTED, reason="r"),),
        skipped=(),
        controls=tuple(
            Control(code=code, title=code, passed=True, sentence="s")
            for code in ("CTL001", "CTL002", "CTL004", "CTL005")
        ),
        provenance={"memaudit": "0.1.0", "commitment.examples": "e" * 64, "commitment.members": "f" * 64},
        attempt=Attempt(number=1, of_model=1, entry="cd" * 32),
    )
    return hold(found, read(settings).limits())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a model, its signed audit (kept: 6 % of at most 10 %), and the pair of keys."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(PASSWORD, raising=False)
    (tmp_path / "memaudit.toml").write_text(GATE, "utf-8")
    (tmp_path / "model.pt").write_bytes(b"weights")
    make_pair(tmp_path / "key.pem")
    _audit(tmp_path)
    return tmp_path


def _audit(place: Path, key: str = "key.pem") -> Report:
    folder = place / "audit"
    folder.mkdir(exist_ok=True)
    report = _report(sha256(place / "model.pt"), place / "memaudit.toml")
    reports.save(report, folder / "report.json")
    seal(folder, ["report.json"])
    sign(report, folder, private_key(str(place / key)))
    return report


ASKED = ("gate", "audit/report.json", "--require-signature", "key.pub", "--model", "model.pt")


# ---- the envelope


def test_what_is_signed_is_the_example_of_the_specification() -> None:
    """DSSE protocol v1.0.0, test vectors."""
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert dsse.pre_authentication_encoding("http://example.com/HelloWorld", b"hello world") == expected
    assert dsse.pre_authentication_encoding("ü", b"") == b"DSSEv1 2 \xc3\xbc 0 "


def test_an_envelope_that_the_specification_shows_is_read() -> None:
    """The example of the specification, and the URL-safe alphabet, which readers must take, too."""
    kind = "http://example.com/HelloWorld"
    fields = {"payload": "aGVsbG8gd29ybGQ=", "payloadType": kind, "signatures": [{"sig": "-_8="}]}
    envelope = dsse.read(json.dumps(fields).encode())
    assert (envelope.payload, envelope.signatures) == (b"hello world", (("", b"\xfb\xff"),))
    assert dsse.read(dsse.render(envelope)) == envelope


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"{}", b"\xff", b'{"payload": 1, "payloadType": "t", "signatures": []}',
     b'{"payload": "", "payloadType": 1, "signatures": []}', b'{"payload": "", "payloadType": "", "signatures": [1]}',
     b'{"payload": "=", "payloadType": "", "signatures": []}', b'{"payload": "a", "payload": "", "payloadType": "",'
     b' "signatures": []}', b"[" * 100_000],
)  # fmt: skip
def test_what_is_no_envelope_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="not a DSSE envelope"):
        dsse.read(text)


def test_any_verifier_of_dsse_can_read_it(place: Path) -> None:
    """By hand, from the specification: nothing of memaudit but the file."""
    envelope = json.loads((place / "audit" / SIGNATURE).read_bytes())
    body, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"]
    assert kind == "application/vnd.in-toto+json"
    (signature,) = envelope["signatures"]
    key: Any = serialization.load_pem_public_key((place / "key.pub").read_bytes())
    signed = f"DSSEv1 {len(kind)} {kind} {len(body)} ".encode() + body
    key.verify(base64.b64decode(signature["sig"]), signed)


def test_the_statement_names_all_that_the_audit_rests_on(place: Path) -> None:
    fields = json.loads(dsse.read((place / "audit" / SIGNATURE).read_bytes()).payload)
    Statement.copy_from_pb(json_format.ParseDict(fields, statement_pb2.Statement())).validate()
    assert fields["subject"] == [{"name": "model.pt", "digest": {"sha256": sha256(place / "model.pt")}}]
    named = {resource["name"]: resource for resource in fields["predicate"]["configuration"]}
    assert named["report.json"]["digest"]["sha256"] == digest((place / "audit" / "report.json").read_bytes())
    assert named["ledger entry"]["digest"]["sha256"] == "cd" * 32
    assert named["commitment.examples"]["digest"] == {"hmac-sha256": "e" * 64}
    assert named["commitment.members"]["digest"] == {"hmac-sha256": "f" * 64}
    assert json.loads(base64.b64decode(named["limits"]["content"]))[0]["max"] == 0.1
    assert named["versions"]["annotations"] == {"memaudit": "0.1.0"}


# ---- the gate


def test_a_signed_audit_of_the_released_model_passes_and_says_what_was_verified(place: Path, command: Command) -> None:
    done = command(*ASKED)
    assert done.returncode == 0, done.stderr
    name = public_key(place / "key.pub").name[:16]
    assert f"checked       signed with key.pub (SHA-256 {name}…)\n" in done.stdout
    assert "checked       the report is about model.pt\n" in done.stdout
    assert "not checked   how often it was audited (--ledger), " in done.stdout
    assert command(*ASKED, "--require-signature", "key.pub").returncode == 0


def test_one_of_several_keys_is_enough(place: Path, command: Command) -> None:
    make_pair(place / "other.pem")
    assert command(*ASKED, "--require-signature", "other.pub").returncode == 0


def _changed(name: str, old: str, new: str) -> Callable[[Path], object]:
    def change(place: Path) -> None:
        text = (place / name).read_text("utf-8")
        assert old in text
        (place / name).write_text(text.replace(old, new), "utf-8")

    return change


def _resealed(change: Callable[[Path], object]) -> Callable[[Path], object]:
    """The change of somebody who knows how digest and sums are made."""

    def both(place: Path) -> None:
        change(place)
        seal(place / "audit", ["report.json"])

    return both


def _unsigned(place: Path) -> None:
    (place / "audit" / SIGNATURE).unlink()


def _by_another(place: Path) -> None:
    make_pair(place / "other.pem")
    _audit(place, "other.pem")


def _of_another_audit(place: Path) -> None:
    """The signature of an earlier audit beside a later one."""
    signature = (place / "audit" / SIGNATURE).read_bytes()
    report = _report(sha256(place / "model.pt"), place / "memaudit.toml")
    reports.save(replace(report, provenance={"memaudit": "other"}), place / "audit" / "report.json")
    seal(place / "audit", ["report.json"])
    (place / "audit" / SIGNATURE).write_bytes(signature)


def _payload_exchanged(place: Path) -> None:
    file = place / "audit" / SIGNATURE
    fields = json.loads(file.read_bytes())
    report = reports.load(place / "audit" / "report.json")
    report = replace(report, subject=replace(report.subject, sha256="ab" * 32))
    from memaudit.reports import intoto

    fields["payload"] = base64.b64encode(intoto.whole(report)).decode()
    file.write_text(json.dumps(fields), "utf-8")


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "unsigned": (_unsigned, "audit/report.json is not signed: there is no report.intoto.jsonl beside it"),
    "signed by another": (_by_another, "is not signed with key.pub"),
    "another model": (lambda p: (p / "model.pt").write_bytes(b"other weights"), "the report is not about model.pt"),
    "another limit": (_changed("memaudit.toml", "0.1\n", "0.1000001\n"), "the limits are not those of the audit"),
    "a limit less": (_changed("memaudit.toml", "lira-online", "lira-offline"), "the limits are not those of the audit"),
    "a warning instead": (
        _changed("memaudit.toml", "0.1\n", '0.1\non_inconclusive = "warn"\n'),
        "on_inconclusive warn",
    ),
    "a report changed": (_changed("audit/report.json", '"s"', '"t"'), "is about another report"),
    "a report changed and resealed": (
        _resealed(_changed("audit/report.json", '"s"', '"t"')),
        "is about another report",
    ),
    "another model's digest": (
        _resealed(lambda p: _changed("audit/report.json", sha256(p / "model.pt"), "ab" * 32)(p)),
        "is about another model",
    ),
    "the signature of another audit": (_of_another_audit, "is about another report"),
    "another statement": (_payload_exchanged, "is not signed with key.pub"),
    "a type changed": (_changed(f"audit/{SIGNATURE}", "in-toto+json", "in-toto+jsoN"), "is not signed with key.pub"),
    "no envelope": (lambda p: (p / "audit" / SIGNATURE).write_text("{}", "utf-8"), "is no signature of an audit"),
    "no signatures": (
        lambda p: (p / "audit" / SIGNATURE).write_text('{"payload": "", "payloadType": "", "signatures": []}', "utf-8"),
        "is no signature of an audit",
    ),
    "a model that is not there": (lambda p: (p / "model.pt").unlink(), "there is no model model.pt"),
    "a key that is not there": (lambda p: (p / "key.pub").unlink(), "there is no file key.pub"),
    "the private key": (lambda p: shutil.copy(p / "key.pem", p / "key.pub"), "key.pub is a private key"),
    "a key that is none": (lambda p: (p / "key.pub").write_text("x", "utf-8"), "key.pub is no public key in PEM"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "said"), REFUSED.values(), ids=REFUSED)
def test_what_was_not_signed_as_it_is_is_refused(
    place: Path, complaint: Complaint, change: Callable[[Path], object], said: str
) -> None:
    change(place)
    assert said in complaint(*ASKED)
    assert said in complaint(*ASKED, "--exit-zero")


def test_other_limits_are_named_and_can_be_allowed(place: Path, command: Command) -> None:
    (place / "memaudit.toml").write_text(GATE.replace("0.1\n", "0.0999\n"), "utf-8")
    words = "the limits are not those of the audit: without tpr of lira-online at 0.01 FPR ≤ 0.1 (max 0.1, "
    unsigned, allowed = command(*ASKED[:2]), command(*ASKED, "--allow-other-limits")
    for done in (unsigned, allowed):
        assert done.returncode == 0, done.stderr
        assert f"other limits  {words}" in done.stdout
        assert "with tpr of lira-online at 0.01 FPR ≤ 0.0999 (max 0.0999, " in done.stdout


def test_a_signature_that_is_about_another_report_is_refused_even_if_none_is_required(
    place: Path, complaint: Complaint
) -> None:
    _of_another_audit(place)
    assert "is about another report" in complaint("gate", "audit/report.json")
    assert "is about another report" in complaint("verify", "audit")


def test_verify_takes_the_signature_and_says_who_signed(place: Path, command: Command, complaint: Complaint) -> None:
    done = command("verify", "audit", "--signature", "key.pub", "--model", "model.pt")
    assert done.returncode == 0, done.stderr
    assert "signed with key.pub" in done.stdout
    assert "who wrote it" not in done.stdout
    assert "Nor does it show who wrote it or when: no signature was verified" in command("verify", "audit").stdout
    make_pair(place / "other.pem")
    assert "is not signed with other.pub" in complaint("verify", "audit", "--signature", "other.pub")
    _unsigned(place)
    assert "is not signed: there is no" in complaint("verify", "audit", "--signature", "key.pub")


def test_a_report_that_an_older_version_wrote_with_fewer_fields_keeps_its_signature(place: Path) -> None:
    """The signature is on the digest of the file, not on what a later version would write."""
    report = _report(sha256(place / "model.pt"), place / "memaudit.toml")
    content = json.loads(reports.render(report, "json"))
    del content["plan"]
    (place / "audit" / "report.json").write_text(json.dumps(content), "utf-8")
    statement = json.loads(dsse.read((place / "audit" / SIGNATURE).read_bytes()).payload)
    resource = next(r for r in statement["predicate"]["configuration"] if r["name"] == "report.json")
    resource["digest"]["sha256"] = digest((place / "audit" / "report.json").read_bytes())
    unsigned = dsse.Envelope(json.dumps(statement).encode(), ())
    signature = ("", private_key("key.pem").sign(unsigned.signed))
    (place / "audit" / SIGNATURE).write_bytes(dsse.render(dsse.Envelope(unsigned.payload, (signature,))))
    file = place / "audit" / "report.json"
    told, problems = verify(reports.load(file), file, [public_key(place / "key.pub")])
    assert (len(told), problems) == (1, [])


# ---- keys


def test_a_pair_is_made_for_its_owner_alone_and_never_written_over(
    tmp_path: Path, command: Command, complaint: Complaint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(PASSWORD, raising=False)
    assert command("key", "my.pem").stdout.startswith("my.pem signs; my.pub is what a gate needs")
    assert (tmp_path / "my.pem").stat().st_mode & 0o777 == 0o600
    before = (tmp_path / "my.pem").read_bytes()
    assert "is there already" in complaint("key", "my.pem")
    assert "is where the public key goes" in complaint("key", "other.pub")
    assert "cannot be written" in complaint("key", "nowhere/my.pem")
    assert "a key needs a name" in complaint("key", "")
    assert "cannot be written" in complaint("key", f"{'x' * 300}.pem")
    monkeypatch.setenv(PASSWORD, "x" * 5000)
    assert f"{PASSWORD} has more than 1023 bytes" in complaint("key", "long.pem")
    assert not (tmp_path / "long.pem").exists()
    monkeypatch.delenv(PASSWORD)
    assert (tmp_path / "my.pem").read_bytes() == before
    expected = private_key("my.pem").public_key().public_bytes_raw()
    assert public_key(tmp_path / "my.pub").key.public_bytes_raw() == expected


def test_a_key_may_have_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD, "open sesame")
    make_pair(tmp_path / "key.pem")
    assert b"ENCRYPTED" in (tmp_path / "key.pem").read_bytes()
    private_key(str(tmp_path / "key.pem"))
    monkeypatch.setenv(PASSWORD, "wrong")
    with pytest.raises(SettingsError, match=f"or {PASSWORD} is not its password"):
        private_key(str(tmp_path / "key.pem"))
    monkeypatch.delenv(PASSWORD)
    with pytest.raises(SettingsError, match="is encrypted: put its password into"):
        private_key(str(tmp_path / "key.pem"))
    make_pair(tmp_path / "bare.pem")
    monkeypatch.setenv(PASSWORD, "needless")
    with pytest.raises(SettingsError, match="is not encrypted: unset"):
        private_key(str(tmp_path / "bare.pem"))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSWORD, raising=False)
    make_pair(tmp_path / "key.pem")
    (tmp_path / "key.pem").chmod(mode)
    with pytest.raises(SettingsError, match=rf"by others \(mode {mode:04o}\): chmod 600 .*--sign env:NAME"):
        private_key(str(tmp_path / "key.pem"))
    monkeypatch.setenv("SIGNING", (tmp_path / "key.pem").read_text("ascii"))
    assert isinstance(private_key("env:SIGNING"), Ed25519PrivateKey)
    with pytest.raises(SettingsError, match="the environment variable NONE holds no key"):
        private_key("env:NONE")


KINDS = {
    "an RSA key": rsa.generate_private_key(65537, 2048),
    "an ECDSA key": ec.generate_private_key(ec.SECP256R1()),
    "a key of kind Ed448": ed448.Ed448PrivateKey.generate(),
}


@pytest.mark.parametrize(("kind", "key"), KINDS.items(), ids=KINDS)
def test_a_key_of_another_kind_is_refused_by_its_name(tmp_path: Path, kind: str, key: Any) -> None:
    private, public = tmp_path / "key.pem", tmp_path / "key.pub"
    private.touch(0o600)
    private.write_bytes(key.private_bytes(PEM, PKCS8, serialization.NoEncryption()))
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(key.public_key().public_bytes(PEM, form))
    with pytest.raises(SettingsError, match=f"is {kind}, but audits are signed with Ed25519"):
        private_key(str(private))
    with pytest.raises(SettingsError, match=f"is {kind}, but audits are signed with Ed25519"):
        public_key(public)


# ---- the audit


def test_an_audit_is_signed_last_and_an_older_signature_goes_first(
    project: Path, command: Command, complaint: Complaint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PASSWORD, raising=False)
    with (project / "memaudit.toml").open("a", encoding="utf-8") as file:
        file.write('[[gate]]\nmetric = "memorization"\nmax = 1.0\n')
    assert "there is no file key.pem" in complaint("audit", "model.safetensors", "--sign", "key.pem")
    assert not (project / "audit").exists()
    make_pair(project / "key.pem")
    done = command("audit", "model.safetensors", "-q", "--sign", "key.pem")
    assert done.returncode == 0, done.stderr
    asked = ("--require-signature", "key.pub", "--model", "model.safetensors", "--ledger", "memaudit.ledger.jsonl")
    gate = command("gate", "audit/report.json", *asked)
    assert gate.returncode == 0, gate.stderr
    assert "not checked" not in gate.stdout
    assert "the chain of 1 audits is whole" in gate.stdout
    assert command("verify", "audit", "--signature", "key.pub").returncode == 0
    assert SIGNATURE not in (project / "audit" / SUMS).read_text("utf-8")
    times = {file.name: file.stat().st_mtime_ns for file in (project / "audit").iterdir()}
    assert max(times, key=lambda name: times[name]) == SIGNATURE
    assert command("audit", "model.safetensors", "-q").returncode == 0
    assert not (project / "audit" / SIGNATURE).exists()


def test_an_audit_that_is_killed_while_it_writes_leaves_no_signature(
    project: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PASSWORD, raising=False)
    make_pair(project / "key.pem")
    assert command("audit", "model.safetensors", "-q", "--sign", "key.pem").returncode == 0

    def killed(folder: Path, names: list[str]) -> list[Path]:
        raise KeyboardInterrupt

    monkeypatch.setattr("memaudit.auditing.run.seal", killed)
    assert command("audit", "model.safetensors", "-q", "--sign", "key.pem").returncode == 130
    assert not {SIGNATURE, SUMS} & {file.name for file in (project / "audit").iterdir()}
    assert DIGEST in {file.name for file in (project / "audit").iterdir()}
