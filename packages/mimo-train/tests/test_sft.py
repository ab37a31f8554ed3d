from __future__ import annotations

import json

import msgspec
import pytest

from mimo_train import TrainError, sft
from mimo_train.samples import Sample, encode_samples, read_samples


def write(path, *lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def sample(number, prompt="?1+1=", response="2"):
    return {"id": f"s{number}", "prompt": prompt, "response": response}


def encode(samples, tokenizer, **options):
    settings = {"stop_token": tokenizer.eos_token_id, "max_tokens": 32, "max_responses_per_prompt": 8, **options}
    return encode_samples([Sample(**s) for s in samples], tokenizer, **settings)


def test_a_sample_is_the_templated_prompt_the_response_and_the_stop_token(tokenizer):
    ((tokens,), _) = encode([sample(0)], tokenizer)
    assert tokenizer.decode(tokens.prompt) == "?1+1="
    assert tokenizer.decode(tokens.response) == "2<|endoftext|>"


def test_further_responses_and_long_samples_are_dropped_with_a_reason(tokenizer):
    samples = [sample(0), sample(1, response="two"), sample(2), sample(3, prompt="?", response="9" * 40)]
    kept, drops = encode(samples, tokenizer, max_responses_per_prompt=2)
    assert len(kept) == 2
    assert [(drop.id, drop.reason) for drop in drops] == [("s2", "max_responses"), ("s3", "too_long")]


def test_fine_tuning_learns_the_responses(fine_tuning, checkpoint, samples, tmp_path, read_metrics):
    sft(fine_tuning, tmp_path / "out", model=checkpoint, samples=samples)
    first, *_, last = read_metrics(tmp_path / "out")
    assert last.loss < first.loss - 2
    assert last.lr == first.lr == 3e-3
    counts = json.loads((tmp_path / "out" / "run.json").read_text())["counts"]
    assert counts["num_samples"] == 40
    assert counts["num_dropped"] == 0


def test_only_response_tokens_are_counted(fine_tuning, checkpoint, samples, tmp_path, read_metrics):
    recipe = msgspec.structs.replace(fine_tuning, num_epochs=1)
    sft(recipe, tmp_path / "out", model=checkpoint, samples=samples)
    responses = [sample.response for sample in read_samples(samples)]
    assert sum(line.num_targets for line in read_metrics(tmp_path / "out")) == sum(len(r) + 1 for r in responses)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('{"id": "a", "prompt": "p", "response": "r"}\n{"id": "b", "prompt": "p"}\n', r"sft\.jsonl:2: .*response"),
        ('{"id": "a", "prompt": "p", "response": "r"}\n\n{"id"\n', r"sft\.jsonl:3: "),
        ('{"id": "a", "prompt": "p", "response": ""}\n', r"sft\.jsonl:1: the prompt or the response is empty"),
        ('{"id": "a", "prompt": "p", "response": "r", "x": 1}\n', r"sft\.jsonl:1: .*`x`"),
        (
            '{"id": "a", "prompt": "p", "response": "r"}\n\n{"id": "a", "prompt": "q", "response": "r"}\n',
            r"sft\.jsonl:3: id 'a' is also on line 1; make ids unique",
        ),
        ("", r"sft\.jsonl: holds no sample"),
    ],
)
def test_a_bad_line_is_named(lines, message, fine_tuning, checkpoint, tmp_path):
    (tmp_path / "sft.jsonl").write_text(lines)
    with pytest.raises(TrainError, match=message):
        sft(fine_tuning, tmp_path / "out", model=checkpoint, samples=tmp_path / "sft.jsonl")
    assert not list(tmp_path.glob("out*"))


def test_a_folder_of_samples_is_refused(tmp_path):
    write(tmp_path / "sft.jsonl", sample(0))
    with pytest.raises(TrainError, match=r"cannot be read \(Is a directory\)\. --samples takes one \.jsonl file\."):
        read_samples(tmp_path)


def test_samples_that_all_are_too_long_are_refused(fine_tuning, checkpoint, tmp_path):
    path = write(tmp_path / "sft.jsonl", sample(0, response="9" * 100))
    with pytest.raises(TrainError, match=r"every sample is longer than 32 tokens\. Raise batch\.sequence_length\."):
        sft(fine_tuning, tmp_path / "out", model=checkpoint, samples=path)
