"""Mask personal data: keyed HMAC-SHA-256, cut to 128 bits, made inside the engine once per distinct value.

The key never enters a query as such: the two padded blocks of RFC 2104 are what the engine sees. A masked
value is the same for the same person and key, so that lists can be joined, and cannot be guessed from a
dictionary without the key.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

from abaco_loans.tape.tree import exp

_BLOCK = 64
_HEX_DIGITS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskingKey:
    """A secret of at least 32 bytes and the version by which records name it."""

    version: str
    secret: bytes = field(repr=False)

    def mask(self, value: str) -> str:
        """The masked form of one value: ``m`` and 32 hexadecimal digits."""
        return "m" + hmac.new(self.secret, value.encode(), hashlib.sha256).hexdigest()[:_HEX_DIGITS]


def key_version(secret: bytes) -> str:
    """A short name for a key that tells nothing about it."""
    return "k" + hashlib.sha256(b"abaco masking key version" + secret).hexdigest()[:12]


def mask_expression(value: exp.Expr, key: MaskingKey) -> exp.Expr:
    """The tree that masks ``value`` (text): equal to :meth:`MaskingKey.mask` (RFC 2104)."""
    secret = key.secret if len(key.secret) <= _BLOCK else hashlib.sha256(key.secret).digest()
    block = secret.ljust(_BLOCK, b"\x00")
    inner = _bytes(bytes(byte ^ 0x36 for byte in block))
    outer = _bytes(bytes(byte ^ 0x5C for byte in block))
    first = exp.Anonymous(
        this="sha256",
        expressions=[exp.DPipe(this=inner, expression=exp.Anonymous(this="encode", expressions=[value]))],
    )
    second = exp.Anonymous(
        this="sha256",
        expressions=[exp.DPipe(this=outer, expression=exp.Anonymous(this="unhex", expressions=[first]))],
    )
    return exp.DPipe(this=exp.Literal.string("m"), expression=exp.func("LEFT", second, exp.Literal.number(_HEX_DIGITS)))


def mask_table(relation: str, column: str, key: MaskingKey) -> exp.Select:
    """A query with ``raw`` and ``masked`` for every distinct value of a column."""
    distinct = (
        exp.select(exp.alias_(exp.column(column, quoted=True), "raw"))
        .distinct()
        .from_(relation)
        .where(exp.Not(this=exp.Is(this=exp.column(column, quoted=True), expression=exp.null())))
    )
    return exp.select(exp.column("raw"), exp.alias_(mask_expression(exp.column("raw"), key), "masked")).from_(
        distinct.subquery("distinct_values")
    )


def _bytes(data: bytes) -> exp.Expr:
    return exp.Anonymous(this="unhex", expressions=[exp.Literal.string(data.hex())])
