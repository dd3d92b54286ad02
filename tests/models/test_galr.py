"""GALR: the sizes of its Table 3."""

import pytest

from septool.models.galr import CONFIGS, GALR

# Counted from an independent sketch of the paper; the paper prints 1.5M and 2.3M.
PARAMETERS = {
    "d64-m16": 1_454_744,
    "d64-m8": 1_444_324,
    "d64-m4": 1_434_464,
    "d128-m16": 2_309_144,
    "d128-m8": 2_297_700,
    "d128-m4": 2_287_328,
}


@pytest.mark.parametrize("row", CONFIGS)
def test_parameters_are_those_of_table_3(row: str) -> None:
    assert sum(p.numel() for p in GALR(CONFIGS[row]).parameters()) == PARAMETERS[row]
