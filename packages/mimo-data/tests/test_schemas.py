from __future__ import annotations

import runpy
from pathlib import Path

SCHEMAS = Path(__file__).parents[1] / "schemas"


def test_the_schemas_beside_the_package_are_current():
    wanted = runpy.run_path(str(SCHEMAS / "write.py"))["schemas"]()
    found = {path.name: path.read_text() for path in SCHEMAS.glob("*.json")}
    assert found == wanted, f"write them again: python {SCHEMAS.name}/write.py"
