"""Dead Simple Signing Envelope (DSSE) v1: what is signed, and the JSON that holds it with its signatures.

Keys are no matter of this module: it neither signs nor verifies.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass

from memaudit.reports.canonical import parse

PAYLOAD_TYPE = "application/vnd.in-toto+json"


@dataclass(frozen=True, slots=True)
class Envelope:
    """A payload with its signatures, each under the name of its key; a name is a hint and proves nothing."""

    payload: bytes
    signatures: tuple[tuple[str, bytes], ...]
    payload_type: str = PAYLOAD_TYPE

    @property
    def signed(self) -> bytes:
        """Return the bytes that are signed."""
        return pre_authentication_encoding(self.payload_type, self.payload)


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """Return the PAE of a payload: its type and itself, each after its length in bytes.

    Source: DSSE protocol v1.0.0, "Signature Definition".
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def render(envelope: Envelope) -> bytes:
    """Return an envelope as one line of JSON, as an in-toto bundle (`.intoto.jsonl`) has it."""
    signatures = [{"keyid": name, "sig": base64.b64encode(sig).decode()} for name, sig in envelope.signatures]
    payload = base64.b64encode(envelope.payload).decode()
    fields = {"payload": payload, "payloadType": envelope.payload_type, "signatures": signatures}
    return json.dumps(fields).encode() + b"\n"


def read(content: bytes) -> Envelope:
    """Return the envelope of a JSON text.

    Raises:
        ValueError: It is none.

    Source: DSSE envelope v1.0.0; base64 may be the standard or the URL-safe one.
    """
    try:
        fields = parse(content)
        payload, kind = _bytes(fields["payload"]), fields["payloadType"]
        signatures = tuple((str(s.get("keyid", "")), _bytes(s["sig"])) for s in fields["signatures"])
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("not a DSSE envelope") from error
    if not isinstance(kind, str):
        raise ValueError("not a DSSE envelope")
    return Envelope(payload, signatures, kind)


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text.translate(str.maketrans("-_", "+/")), validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
