"""Finds out why an endpoint cannot be used: one check after the other, each with its advice.

`checks` has the list and runs it. Each other module has one kind of check; `case` holds what they
learn for each other, and `findings` is what they say.

May import `transport`, `aws`, `credentials` and what lies below them; `cli` prints what it finds.
Tests: tests/cli/test_doctor.py.
"""

from __future__ import annotations

from .caller import NAME_A_REGION, NO_REGION
from .case import Case
from .checks import CHECKS, examine
from .findings import Check, Finding, State
from .products import PRODUCTS

__all__ = [
    "CHECKS",
    "NAME_A_REGION",
    "NO_REGION",
    "PRODUCTS",
    "Case",
    "Check",
    "Finding",
    "State",
    "examine",
]
