"""How a unit is used in a bank's models."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from jaxtyping import UInt8

Array = np.ndarray


class Role(IntEnum):
    """How a unit is used in a bank's models: in none, in some of them, or in every one."""

    NEVER = 0
    CANDIDATE = 1
    ALWAYS = 2


def everyone(units: int) -> UInt8[Array, " units"]:
    """Return the roles of units that are all candidates."""
    return np.full(units, Role.CANDIDATE, np.uint8)


def with_the_rest(row: UInt8[Array, " units"], roles: UInt8[Array, " units"]) -> UInt8[Array, " units"]:
    """Return memberships, 0 or 1, of which those of candidates are kept; the rest is in or out by its role."""
    return np.where(roles == Role.CANDIDATE, row, (roles == Role.ALWAYS).astype(np.uint8))
