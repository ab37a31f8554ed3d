"""Numbers that a recipe cannot mean: each is one line that names the key, the value and what is allowed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from mimo_data.cli import main
from mimo_data.recipe import DataRecipe
from mimo_data.run import RecipeError, Run
from mimo_data.sampling import SamplingRule

RECIPE = """
[synthesize.endpoints.one]
url   = "http://127.0.0.1:8000/v1"
model = "tiny"
[synthesize.strategies.one]
endpoint = "one"
prompts  = ["answer"]
[synthesize.strategies.one.select.at_least]
one = 1.0
[stages.one]
weights       = { one = 1.0 }
max_epochs    = 1.0
max_epochs_of = { one = 1.0 }
seed          = 1
"""


def float_keys(info: msgspec.inspect.Type, key: str) -> Iterator[str]:
    """Every key below `key` whose value is a float; tables that users name are called `one`."""
    match info:
        case msgspec.inspect.FloatType():
            yield key
        case msgspec.inspect.UnionType(types=types):
            for child in types:
                yield from float_keys(child, key)
        case msgspec.inspect.DictType(value_type=child):
            yield from float_keys(child, f"{key}.one")
        case msgspec.inspect.StructType(fields=fields):
            for field in fields:
                yield from float_keys(field.type, f"{key}.{field.encode_name}".lstrip("."))


FLOAT_KEYS = [key for key in float_keys(msgspec.inspect.type_info(DataRecipe), "") if not key.startswith("import")]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "data.toml"
    path.write_text(RECIPE)
    return path


@pytest.mark.parametrize("value", ["nan", "inf", "1e308"])
@pytest.mark.parametrize("key", FLOAT_KEYS)
def test_no_number_is_nan_or_without_end(recipe, key, value):
    wanted = f"{key.rpartition('.')[2]} is {float(value)}, but must lie between"
    with pytest.raises(RecipeError, match=wanted.replace("+", r"\+")):
        Run.load_recipe(recipe, DataRecipe, [f"{key}={value}"])


@pytest.mark.parametrize("factor", [float("nan"), float("inf"), -0.1])
def test_a_sampling_factor_is_a_number(factor):
    with pytest.raises(ValueError, match=r"factor is .* but must lie between 0 and 1_000"):
        SamplingRule(tag="domain", values=("news",), factor=factor)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("extract.worker_memory_bytes=1", "worker_memory_bytes is 1, but must lie between 700_000_000 and"),
        ("extract.worker_memory_bytes=100000000", "worker_memory_bytes is 100000000, but must lie"),
        (f"extract.pages.max_page_bytes={10**19}", f"pages.max_page_bytes is {10**19}, but must lie between 1 and"),
        ("deduplicate.threshold=0.1", "threshold 0.1, recall 0.99 and rows_per_band 8 take"),
        ("deduplicate.rows_per_band=60", "rows_per_band 60 take 3_005_012 bands, but at most 1000 are kept: lower"),
        ("deduplicate.rows_per_band=1000000", "rows_per_band is 1000000, but must lie between 1 and 64"),
        ("tagger.peak_learning_rate=1e9", "peak_learning_rate is 1000000000.0, but must lie between 1e-09 and 10"),
        ("synthesize.endpoints.one.url=http://h:99999999/v1", "url 'http://h:99999999/v1': Port out of range"),
        ("synthesize.endpoints.one.url=http://h:abc/v1", "url 'http://h:abc/v1': Port could not be cast"),
    ],
)
def test_a_setting_that_cannot_work_is_one_line(recipe, capsys, override, message):
    assert main(["check", str(recipe), "--set", override]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize("option", ["terabytes", "hours", "document-bytes", "copies"])
@pytest.mark.parametrize("value", ["nan", "inf", "1e9"])
def test_a_plan_for_what_nobody_has_is_one_line(recipe, capsys, option, value):
    options = {"terabytes": "1", "hours": "24", option: value}
    words = [word for name, number in options.items() for word in (f"--{name}", number)]
    assert main(["plan", str(recipe), *words]) == 2
    assert f"plan: {option} is {float(value)}, but must lie between" in capsys.readouterr().err
