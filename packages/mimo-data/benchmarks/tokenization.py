"""Documents to shards, beside the tokenizer alone: tokens and megabytes a second on one core.

`tokenization.py [--tokenizer FOLDER] [--documents PATH…]`: a checkpoint's tokenizer and documents files. Without them
it trains a byte-level BPE of 8,000 tokens on text that it makes up.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import tempfile
import time
from pathlib import Path

# Before the tokenizer's library is loaded: one core is what is measured.
os.environ["RAYON_NUM_THREADS"] = "1"

import tokenizers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from mimo_data import Document, open_shards, read_documents, write_shards

REPEATS = 3
NUM_DOCUMENTS = 1500
SYLLABLES = "ba co di fe gu la mo ni pe ra so tu"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--documents", type=Path, nargs="*", default=[])
    arguments = parser.parse_args()
    for path in (*arguments.documents, *([arguments.tokenizer] if arguments.tokenizer else [])):
        if not path.exists():
            parser.error(f"{path}: no such file or folder")
    with tempfile.TemporaryDirectory() as folder:
        documents = [document for path in arguments.documents for document in read_documents(path)] or made_up()
        tokenizer = arguments.tokenizer or trained(Path(folder) / "tokenizer", documents)
        alone = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
        texts = [document.text for document in documents]
        num_bytes = sum(len(text.encode()) for text in texts)
        write_shards(documents, tokenizer, Path(folder) / "check")
        wanted = sum(len(encoding.ids) + 1 for encoding in alone.encode_batch(texts, add_special_tokens=False))
        sources = open_shards(Path(folder) / "check").sources.values()
        num_tokens = sum(source.manifest.num_tokens for source in sources)
        assert num_tokens == wanted, f"{num_tokens} tokens in the shards, {wanted} by the tokenizer alone"
        rows = []
        for name, run in (
            ("tokenizers, encode_batch", lambda _: alone.encode_batch(texts, add_special_tokens=False)),
            ("tokenizers, encode_batch_fast", lambda _: alone.encode_batch_fast(texts, add_special_tokens=False)),
            ("write_shards", lambda turn: write_shards(documents, tokenizer, Path(folder) / f"out-{turn}")),
        ):
            best_s = min(timed(lambda turn=turn, run=run: run(turn)) for turn in range(REPEATS))
            rows.append(f"| {name} | {num_tokens / best_s:,.0f} | {num_bytes / best_s / 1e6:.2f} |")
    print(f"{platform.machine()}, Python {platform.python_version()}, tokenizers {tokenizers.__version__}, one thread,")
    print(f"CPU time, best of {REPEATS}; {len(documents)} documents, {num_bytes / 1e6:.1f} MB, {num_tokens:,} tokens\n")
    print("| | tokens/s | MB/s |\n| --- | --- | --- |", *rows, sep="\n")


def timed(function: object) -> float:
    start_s = time.process_time()
    assert callable(function)
    function()
    return time.process_time() - start_s


def made_up() -> list[Document]:
    rng = random.Random(0)
    syllables = SYLLABLES.split()
    words = ["".join(rng.choices(syllables, k=rng.randrange(1, 5))) for _ in range(5000)]
    return [Document(id=str(n), text=" ".join(rng.choices(words, k=600)), source="web") for n in range(NUM_DOCUMENTS)]


def trained(folder: Path, documents: list[Document]) -> Path:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=8000, show_progress=False, special_tokens=["<|endoftext|>"])
    made.train_from_iterator((document.text for document in documents), trainer)
    folder.mkdir()
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>"}))
    return folder


if __name__ == "__main__":
    main()
