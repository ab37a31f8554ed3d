"""The `mimo-eval` command: make problem files, evaluate a checkpoint, compare two results."""

from __future__ import annotations

import argparse
import asyncio
import functools
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
from tqdm import tqdm

from mimo_eval.benchmarks import BENCHMARKS, convert
from mimo_eval.evaluation import EvalResult, Generator, Sample, compare, evaluate
from mimo_eval.problem import Problem, encode_problems, read_problems, write_problems
from mimo_eval.recipe import EvalRecipe
from mimo_eval.run import EvalError, Record, Run, require_apart
from mimo_sandbox import Sandbox, SandboxUnavailable


class ResultFile(Record, frozen=True, kw_only=True):
    """`result.json`: what one checkpoint scored."""

    model: str
    """Checkpoint as it was given."""
    benchmarks: dict[str, EvalResult]
    """By name in the recipe, in its order."""
    not_run: tuple[str, ...]
    """Benchmarks of the recipe for which no problem file was given."""


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    try:
        done: int = arguments.action(arguments)
        return done
    except (EvalError, SandboxUnavailable) as error:
        print(f"mimo-eval: error: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 1)
    except OSError as error:
        print(
            f"mimo-eval: error: {error}. Nothing was written: put that right and give the same command again.",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("mimo-eval: interrupted; nothing was written.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mimo-eval", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    run = verbs.add_parser("run", help="evaluate a checkpoint on problem files")
    run.add_argument("recipe", type=Path, help="TOML, such as recipes/mimo-7b/eval-rl.toml")
    run.add_argument("out", type=Path, help="folder to make: result.json, samples.jsonl, run.json")
    run.add_argument("--model", type=Path, required=True, metavar="CHECKPOINT", help="Hugging Face folder")
    run.add_argument(
        "--problems", type=Path, nargs="+", required=True, metavar="FILE", help="found by name from the recipe"
    )
    run.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    run.set_defaults(action=_run)

    comparison = verbs.add_parser("compare", help="difference of two results on the same problems")
    comparison.add_argument("first", type=Path, help="output folder of `mimo-eval run`")
    comparison.add_argument("second", type=Path)
    comparison.set_defaults(action=_compare)

    problems = verbs.add_parser("problems", help="make a problem file from a benchmark's own file")
    problems.add_argument("format", choices=sorted(BENCHMARKS), metavar="FORMAT", help=", ".join(sorted(BENCHMARKS)))
    problems.add_argument("file", type=Path, help="as published: .jsonl, .jsonl.gz or .json")
    problems.add_argument("out", type=Path, help="problem file to write (.jsonl)")
    problems.set_defaults(action=_problems)

    check = verbs.add_parser("check", help="decode a recipe")
    check.add_argument("recipe", type=Path)
    check.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    check.set_defaults(action=_check)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    recipe = Run.load_recipe(arguments.recipe, EvalRecipe, arguments.overrides)
    files = {path.name: path for path in arguments.problems}
    if len(files) < len(arguments.problems):
        raise EvalError(
            f"--problems: two files of one name among {', '.join(map(str, arguments.problems))}; rename one."
        )
    wanted = {name for entry in recipe.benchmark for name in (entry.problem_file(), entry.shots)}
    if unknown := sorted(files.keys() - wanted):
        raise EvalError(
            f"{files[unknown[0]]}: no [[benchmark]] of {arguments.recipe} reads a file named {unknown[0]}. "
            f"It wants: {', '.join(sorted(wanted - {''}))}."
        )
    inputs = {"model": arguments.model} | {f"problems {name}": path for name, path in files.items()}
    require_apart(arguments.out, arguments.recipe, "the recipe")
    with Run.open(
        arguments.out, package="mimo-eval", command="run", recipe=recipe, inputs=inputs, resumable=False
    ) as run:
        if run.complete:
            print(f"{arguments.out}: complete, reused")
            return 0
        loaded = {name: read_problems(path) for name, path in files.items()}
        result, samples = asyncio.run(_evaluate_all(recipe, arguments.model, loaded))
        with (run.folder / "samples.jsonl").open("wb") as file:
            for sample in samples:
                file.write(msgspec.json.encode(sample) + b"\n")
        text = msgspec.json.format(msgspec.json.encode(result), indent=1)
        (run.folder / "result.json").write_bytes(text + b"\n")
        num_problems = sum(found.num_problems for found in result.benchmarks.values())
        run.finish(num_problems=num_problems, num_samples=len(samples))
    _print_result(result)
    return 0


async def _evaluate_all(
    recipe: EvalRecipe, checkpoint: Path, files: dict[str, list[Problem]]
) -> tuple[ResultFile, list[Sample]]:
    try:
        from mimo_eval.local import LocalModel
    except ImportError as error:
        raise EvalError(f"{error}. `mimo-eval run` needs the extra: pip install 'mimo-eval[local]'.") from None
    model = LocalModel(checkpoint, chat=recipe.chat, num_drafts=recipe.num_drafts)
    results: dict[str, EvalResult] = {}
    all_samples: list[Sample] = []
    async with AsyncExitStack() as stack:
        sandbox: Sandbox | None = None
        if any(problem.kind == "code" for problems in files.values() for problem in problems):
            sandbox = await stack.enter_async_context(Sandbox())
        for entry in recipe.benchmark:
            problems = files.get(entry.problem_file())
            if problems is None:
                continue
            if entry.num_shots and entry.shots not in files:
                raise EvalError(
                    f"{entry.name}: wants {entry.num_shots} shots from {entry.shots}; give it to --problems."
                )
            sampling = entry.sampling(recipe.sampling)
            generator: Generator = functools.partial(model.generate, sampling=sampling, stop=entry.stop)
            samples: list[Sample] = []
            with _Progress(entry.name, len(problems) * sampling.num_samples) as progress:
                results[entry.name] = await evaluate(
                    problems,
                    generator,
                    num_samples=sampling.num_samples,
                    seed=recipe.seed,
                    prompts=entry.prompts(problems, files.get(entry.shots, ())),
                    sandbox=sandbox,
                    benchmark=entry.name,
                    on_sample=_both(samples.append, progress.advance),
                )
            order = {problem.id: number for number, problem in enumerate(problems)}
            all_samples += sorted(samples, key=lambda sample: (order[sample.problem_id], sample.index))
    not_run = tuple(entry.name for entry in recipe.benchmark if entry.name not in results)
    return ResultFile(model=str(checkpoint), benchmarks=results, not_run=not_run), all_samples


def _both(first: Callable[[Sample], None], second: Callable[[Sample], None]) -> Callable[[Sample], None]:
    def call(sample: Sample) -> None:
        first(sample)
        second(sample)

    return call


class _Progress:
    """A bar on a terminal, a line every few seconds in a log."""

    def __init__(self, name: str, total: int) -> None:
        self._name, self._total, self._done, self._correct = name, total, 0, 0
        self._bar = tqdm(total=total, desc=name, unit="response", disable=not sys.stderr.isatty())
        self._last_line_s = time.monotonic()

    def advance(self, sample: Sample) -> None:
        self._done += 1
        self._correct += sample.grade.correct
        self._bar.set_postfix(correct=f"{self._correct / self._done:.3f}", refresh=False)
        self._bar.update()
        due = time.monotonic() - self._last_line_s > 10 or self._done == self._total
        if self._bar.disable and due:
            self._last_line_s = time.monotonic()
            share = self._correct / self._done
            print(f"{self._name}: {self._done}/{self._total} responses, {share:.3f} correct", file=sys.stderr)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()


def _print_result(result: ResultFile) -> None:
    print("| benchmark | problems | samples | accuracy | 95% interval | pass@k |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, found in result.benchmarks.items():
        low, high = found.interval
        k, best = list(found.pass_at.items())[-1]
        print(
            f"| {name} | {found.num_problems} | {found.num_samples} | {found.accuracy:.3f} "
            f"| {low:.3f} to {high:.3f} | pass@{k} {best:.3f} |"
        )
    if result.not_run:
        print(f"No problem file given for: {', '.join(result.not_run)}.", file=sys.stderr)


def _compare(arguments: argparse.Namespace) -> int:
    first, second = _read_result(arguments.first), _read_result(arguments.second)
    shared = [name for name in first.benchmarks if name in second.benchmarks]
    if not shared:
        raise EvalError(f"{arguments.first} and {arguments.second}: no benchmark in common.")
    print("| benchmark | first | second | difference | 95% interval | better | worse |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in shared:
        a, b = first.benchmarks[name], second.benchmarks[name]
        try:
            found = compare(a, b)
        except EvalError as error:
            raise EvalError(f"{name}: {error}") from None
        low, high = found.interval
        print(
            f"| {name} | {a.accuracy:.3f} | {b.accuracy:.3f} | {found.difference:+.3f} "
            f"| {low:+.3f} to {high:+.3f} | {found.num_better} | {found.num_worse} |"
        )
    return 0


def _read_result(folder: Path) -> ResultFile:
    path = folder / "result.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=ResultFile)
    except FileNotFoundError:
        raise EvalError(f"{path}: no such file. `mimo-eval run` makes it.") from None
    except NotADirectoryError:
        raise EvalError(f"{folder}: not a folder. Give the output folder of `mimo-eval run`.") from None
    except msgspec.MsgspecError as error:
        raise EvalError(f"{path}: not a result: {error}. Run `mimo-eval run` again.") from None


def _problems(arguments: argparse.Namespace) -> int:
    file, out = arguments.file, arguments.out
    problems, left_out = convert(arguments.format, file)
    if not problems:
        raise EvalError(f"{file}: no usable row ({dict(left_out)}).")
    if out.exists() and out.samefile(file):
        raise EvalError(f"{out}: is the input. Choose another file for the problems.")
    if out.exists() and not (out.is_file() and out.read_bytes() == encode_problems(problems)):
        raise EvalError(f"{out}: exists and holds something else. Choose another file, or delete it.")
    write_problems(out, problems)
    dropped = "".join(f", {count} left out ({reason})" for reason, count in sorted(left_out.items()))
    print(f"{out}: {len(problems)} problems{dropped}")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    recipe = Run.load_recipe(arguments.recipe, EvalRecipe, arguments.overrides)
    print(f"{arguments.recipe}: {len(recipe.benchmark)} benchmarks")
    return 0
