"""The `mimo-data` command: one verb a step, each from a recipe to an output folder."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mimo_data.run import DataError, RecipeError, Run

if TYPE_CHECKING:
    from mimo_data.documents import Document, Drop
    from mimo_data.recipe import DataRecipe

ItemT = TypeVar("ItemT")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns 0, or 2 for a wrong command line or recipe, or 1 for everything else."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except DataError as error:
        print(f"mimo-data: error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"mimo-data: error: {error.filename}: {error.strerror}. Check the path and its rights.", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mimo-data", description="From raw pages and PDFs to token shards.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    step = argparse.ArgumentParser(add_help=False)
    step.add_argument("recipe", type=Path, metavar="RECIPE", help="TOML file with a table per command")
    step.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a recipe's value")
    makes = argparse.ArgumentParser(add_help=False, parents=[step])
    makes.add_argument("out", type=Path, metavar="OUT", help="folder to make")
    reads = argparse.ArgumentParser(add_help=False)
    reads.add_argument(
        "--documents", type=Path, nargs="+", required=True, metavar="PATH", help="documents files or step folders"
    )

    def verb(
        name: str, run: Callable[[argparse.Namespace], None], parents: list[argparse.ArgumentParser], text: str
    ) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, parents=parents, help=text, description=text)
        added.set_defaults(run=run)
        return added

    extract = verb("extract", _extract, [makes], "pages (.html, .htm, .html.gz, .pdf) to documents")
    extract.add_argument("--pages", type=Path, required=True, metavar="DIR", help="folder of pages")
    extract.add_argument(
        "--workers", type=int, default=len(os.sched_getaffinity(0)), metavar="N", help="processes (default: CPUs)"
    )
    verb("import", _import, [makes], "a data set that Hugging Face datasets reads, to documents")
    verb("deduplicate", _deduplicate, [makes, reads], "drop copies by address, exact text and MinHash")
    decontaminate = verb("decontaminate", _decontaminate, [makes, reads], "drop documents with a benchmark's problem")
    decontaminate.add_argument(
        "--problems", type=Path, nargs="+", required=True, metavar="FILE", help="problem files (mimo-eval problems)"
    )
    verb("filter", _filter, [makes, reads], "drop what is hardly text, by plain measures")
    tokenize = verb("tokenize", _tokenize, [makes, reads], "write token shards, one folder a source")
    tokenize.add_argument("--tokenizer", type=Path, required=True, metavar="FOLDER", help="checkpoint or tokenizer")
    check = verb("check", _check, [step], "decode a recipe; with --shards, verify them and size each stage's mixture")
    check.add_argument("--shards", type=Path, metavar="FOLDER", help="what `mimo-data tokenize` made")
    return parser


def _extract(arguments: argparse.Namespace) -> None:
    from mimo_data.extract import extract_pages

    recipe = _load(arguments).extract
    if arguments.workers < 1:
        raise RecipeError(f"--workers {arguments.workers}: at least 1.")
    with _open(arguments, "extract", recipe, {"pages": arguments.pages}) as run:
        if not run.complete:
            pages = extract_pages(arguments.pages, recipe, num_workers=arguments.workers)
            _write_step(run, _progress(pages, "pages"))


def _import(arguments: argparse.Namespace) -> None:
    from mimo_data.importer import import_documents

    recipe = _load(arguments).imports
    if recipe is None:
        raise RecipeError(f"{arguments.recipe}: has no [import] table, which says what to read.")
    files = _named("file", [Path(file) for file in recipe.files])
    with _open(arguments, "import", recipe, files) as run:
        if not run.complete:
            _write_step(run, _progress(import_documents(recipe), "documents"))


def _deduplicate(arguments: argparse.Namespace) -> None:
    from mimo_data.dedup import find_duplicates
    from mimo_data.documents import Drop

    recipe = _load(arguments).deduplicate
    with _open(arguments, "deduplicate", recipe, _named("documents", arguments.documents)) as run:
        if not run.complete:
            found = find_duplicates(_progress(_documents(arguments), "documents"), recipe)
            drops = {
                dropped: Drop(id=dropped, step="deduplicate", reason=reason, detail=kept)
                for dropped, kept, reason in found
            }
            _write_step(run, (drops.get(document.id, document) for document in _documents(arguments)))


def _decontaminate(arguments: argparse.Namespace) -> None:
    from mimo_data.decontaminate import ProblemIndex, read_prompts
    from mimo_data.documents import Drop

    recipe = _load(arguments).decontaminate
    inputs = _named("documents", arguments.documents) | _named("problems", arguments.problems)
    with _open(arguments, "decontaminate", recipe, inputs) as run:
        if not run.complete:
            index = ProblemIndex(chain.from_iterable(read_prompts(path) for path in arguments.problems), recipe)

            def decide(document: Document) -> Document | Drop:
                problem = index.find(document.text)
                return (
                    Drop(id=document.id, step="decontaminate", reason="contains_problem", detail=problem)
                    if problem
                    else document
                )

            kept = map(decide, _progress(_documents(arguments), "documents"))
            _write_step(run, kept, num_problems_too_short=index.num_too_short)


def _filter(arguments: argparse.Namespace) -> None:
    from mimo_data.documents import Drop
    from mimo_data.filter import why_dropped

    recipe = _load(arguments).filter

    def decide(document: Document) -> Document | Drop:
        found = why_dropped(document, recipe)
        return Drop(id=document.id, step="filter", reason=found[0], detail=found[1]) if found else document

    with _open(arguments, "filter", recipe, _named("documents", arguments.documents)) as run:
        if not run.complete:
            _write_step(run, map(decide, _progress(_documents(arguments), "documents")))


def _tokenize(arguments: argparse.Namespace) -> None:
    from mimo_data.shards import write_shards

    _load(arguments)
    inputs = _named("documents", arguments.documents)
    inputs |= {name: arguments.tokenizer / name for name in ("tokenizer.json", "tokenizer_config.json")}
    with _open(arguments, "tokenize", {}, inputs) as run:
        if not run.complete:
            documents = _progress(_documents(arguments), "documents")
            manifests = write_shards(documents, arguments.tokenizer, run.folder)
            run.finish(
                num_documents=sum(manifest.num_documents for manifest in manifests.values()),
                num_tokens=sum(manifest.num_tokens for manifest in manifests.values()),
            )


def _check(arguments: argparse.Namespace) -> None:
    recipe = _load(arguments)
    print(f"{arguments.recipe}: decodes; stages: {', '.join(recipe.stages) or 'none'}")
    if arguments.shards:
        from mimo_data.shards import open_shards

        shards = open_shards(arguments.shards)
        shards.verify()
        for source, shard in shards.sources.items():
            print(f"{source}: {shard.manifest.num_documents} documents, {shard.manifest.num_tokens} tokens")
        for name, mixture in recipe.stages.items():
            num_tokens = len(mixture.stream(arguments.shards, 1))
            print(f"stage {name}: {num_tokens} tokens before a source exceeds {mixture.max_epochs:g} epochs")


def _load(arguments: argparse.Namespace) -> DataRecipe:
    from mimo_data.recipe import DataRecipe

    return Run.load_recipe(arguments.recipe, DataRecipe, arguments.set)


def _open(arguments: argparse.Namespace, command: str, recipe: object, inputs: dict[str, Path]) -> Run:
    """The run of one command; says so when its output is there already."""
    run = Run.open(arguments.out, package="mimo-data", command=command, recipe=recipe, inputs=inputs, resumable=False)
    if run.complete:
        print(f"{run.out}: complete, reused")
    return run


def _write_step(run: Run, results: Iterable[Document | Drop], **counts: int) -> None:
    """Writes a step's documents and drop log, and prints what became of its input."""
    from mimo_data.documents import Document, write_documents, write_drops

    drops: list[Drop] = []

    def kept() -> Iterator[Document]:
        for result in results:
            if isinstance(result, Document):
                yield result
            else:
                drops.append(result)

    num_kept = write_documents(run.folder / "documents.jsonl.zst", kept())
    write_drops(run.folder / "drops.jsonl", drops)
    run.finish(num_in=num_kept + len(drops), num_out=num_kept, num_dropped=len(drops), **counts)
    reasons = ", ".join(f"{count} {reason}" for reason, count in Counter(drop.reason for drop in drops).most_common())
    print(f"{run.out}: {num_kept} documents kept, {len(drops)} dropped" + (f" ({reasons})" if reasons else ""))


def _named(role: str, paths: Sequence[Path]) -> dict[str, Path]:
    return {f"{role} {number}": path for number, path in enumerate(paths, start=1)}


def _documents(arguments: argparse.Namespace) -> Iterator[Document]:
    from mimo_data.documents import read_documents

    return chain.from_iterable(read_documents(path) for path in arguments.documents)


def _progress(items: Iterable[ItemT], unit: str) -> Iterator[ItemT]:
    """The items, counted on stderr: a bar on a terminal, a line every half minute in a log."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(items, unit=f" {unit}", leave=False)
        return
    last_s = time.monotonic()
    for count, item in enumerate(items, start=1):
        yield item
        if time.monotonic() - last_s > 30:
            last_s = time.monotonic()
            print(f"mimo-data: {count} {unit}", file=sys.stderr, flush=True)
