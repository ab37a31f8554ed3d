"""The golden files, and the JSON Schemas that they follow."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

Validate = Callable[[str, object], None]


@pytest.fixture(scope="session")
def golden() -> Path:
    return Path(__file__).resolve().parent / "golden"


@pytest.fixture(scope="session")
def validate(root: Path) -> Validate:
    """`validate("mimo-data/document.schema.json", value)`: value follows the schema, but not with one more key."""

    def check(schema: str, value: object) -> None:
        package, name = schema.split("/")
        tree = json.loads((root / "packages" / package / "schemas" / name).read_text())
        jsonschema.Draft202012Validator.check_schema(tree)
        jsonschema.validate(value, tree)
        assert isinstance(value, dict)
        with pytest.raises(jsonschema.ValidationError, match="colour"):
            jsonschema.validate({**value, "colour": "red"}, tree)

    return check
