"""The command `mimo-model`.

It lies beside the package, not in it: `import mimo_model` loads torch and transformers to register its Auto
classes, and `mimo-model --help` must not wait for them. Each verb imports what it needs when it runs.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; returns 0, 1 (bad input, one line on stderr), 2 (wrong command line or recipe) or 130 (Ctrl-C)."""
    arguments = _parser().parse_args(argv)
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        print("mimo-model: interrupted.", file=sys.stderr)
        return 130


def _run(arguments: argparse.Namespace) -> int:
    from mimo_model.errors import ModelError

    try:
        arguments.run(arguments)
    except ModelError as error:
        print(f"mimo-model: error: {error}", file=sys.stderr)
        return error.exit_code
    except ValueError as error:  # a flag's value that the package refuses
        print(f"mimo-model: error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mimo-model", description="Checkpoints of MiMo with multi-token prediction, and lossless decoding."
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def add(name: str, run: Callable[[argparse.Namespace], None], summary: str) -> argparse.ArgumentParser:
        verb = verbs.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        verb.set_defaults(run=run)
        return verb

    init = add("init", _init, "make a fresh checkpoint from a recipe")
    init.add_argument("recipe", type=Path)
    init.add_argument("out", type=Path)
    check = add("check", _check, "decode a recipe of init and do nothing")
    check.add_argument("recipe", type=Path)
    for verb in (init, check):
        verb.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override one recipe key")

    generate = add("generate", _generate, "answer prompts with a checkpoint, MTP layers drafting")
    generate.add_argument("checkpoint")
    generate.add_argument("--prompt", action="append", required=True, help="one user message; may be repeated")
    generate.add_argument("--max-tokens", type=_integer(1), help="of each answer (default: what the context holds)")
    generate.add_argument("--temperature", type=float, default=0.6, help="0 for greedy (default %(default)s)")
    generate.add_argument("--top-p", type=float, default=0.95, help="default %(default)s")
    generate.add_argument("--top-k", type=_integer(0), default=0, help="0 for all tokens (default)")
    generate.add_argument("--seed", type=_integer(0, 2**62), default=0)
    generate.add_argument("--num-drafts", type=_integer(0), help="MTP layers that draft (default: all the model has)")

    chat = add("chat", _chat, "talk with a checkpoint in the terminal")
    chat.add_argument("checkpoint")
    chat.add_argument("--system", default="", help="system prompt (default: empty, as is recommended for MiMo)")
    chat.add_argument("--max-tokens", type=_integer(1), help="of each answer (default: what the context holds)")
    chat.add_argument("--temperature", type=float, default=0.6, help="0 for greedy (default %(default)s)")
    chat.add_argument("--top-p", type=float, default=0.95, help="default %(default)s")
    chat.add_argument("--top-k", type=_integer(0), default=0, help="0 for all tokens (default)")
    chat.add_argument("--seed", type=_integer(0, 2**62), help="of the first answer (default: another each time)")

    serve = add("serve", _serve, "serve a checkpoint over HTTP: OpenAI-compatible, with a chat page")
    serve.add_argument("checkpoint")
    serve.add_argument("--host", default="127.0.0.1", help="0.0.0.0 for other machines, too (default %(default)s)")
    serve.add_argument("--port", type=_integer(0, 65535), default=8000, help="default %(default)s")
    serve.add_argument("--model-name", help="what clients call it (default: the checkpoint's own name)")
    serve.add_argument("--api-key", help="what clients must send (default: $MIMO_API_KEY; none lets everybody in)")
    serve.add_argument(
        "--max-batch-size", type=_integer(1), default=256, help="answers at a time (default %(default)s)"
    )
    for verb in (chat, serve):
        verb.add_argument(
            "--num-drafts",
            type=_num_drafts,
            default="auto",
            help="MTP layers that draft; with a number a seed gives its answer again (default: what pays best)",
        )

    inspect = add("inspect", _inspect, "show a checkpoint's parameters and faults, and what each engine does with it")
    inspect.add_argument("checkpoint")
    inspect.add_argument("--json", action="store_true", help="for a program")

    replicate = add("replicate-mtp", _replicate, "copy the single MTP layer into more (§2.2)")
    replicate.add_argument("checkpoint", type=Path)
    replicate.add_argument("out", type=Path)
    replicate.add_argument(
        "--num-layers", type=_integer(1), default=3, help="MTP layers afterwards (default %(default)s)"
    )

    export = add("export", _export, "write a checkpoint for other engines and machines, with the code that opens it")
    export.add_argument("checkpoint", type=Path)
    export.add_argument("out", type=Path)
    export.add_argument("--mtp-layers", default="all", help="how many to keep, from the first on (default: all)")
    export.add_argument("--no-remote-code", action="store_true", help="leave out the files for trust_remote_code")
    export.add_argument("--dtype", default="auto", help="of the weights (default: as they are)")
    export.add_argument("--max-shard-size", default="5GB", help="of one file of weights (default %(default)s)")

    self_check = add("self-check", _self_check, "say whether the MTP layers were made for the released wiring")
    self_check.add_argument("checkpoint")
    self_check.add_argument("--prompts", type=Path, help="a .jsonl file, `prompt` in each line (default: built in)")
    self_check.add_argument("--num", type=_integer(1), default=16, help="prompts to take (default %(default)s)")
    self_check.add_argument("--max-tokens", type=_integer(1), default=96, help="of each answer (default %(default)s)")

    plant = add("plant", _plant, "make a checkpoint whose MTP acceptance is known by construction")
    plant.add_argument("out", type=Path)
    plant.add_argument(
        "--acceptance",
        type=float,
        nargs="+",
        default=[0.875, 0.75, 0.625],
        help="one per MTP layer, in sixteenths (default %(default)s)",
    )

    plant.add_argument("--num-layers", type=_integer(1), help="main layers (default: as many as MTP layers)")
    plant.add_argument("--hidden-size", type=_integer(1), default=64, help="a multiple of 64 (default %(default)s)")

    bench = add("bench", _bench, "measure how fast a checkpoint decodes, against the memory's bandwidth")
    bench.add_argument("checkpoint", help="or, with --random, a recipe of init")
    bench.add_argument("--random", action="store_true", help="random weights of the recipe's shape, made in memory")
    bench.add_argument("--prompts", type=Path, help="a .jsonl file, `prompt` in each line (default: random tokens)")
    bench.add_argument("--prompt-tokens", type=_integer(1), default=32, help="of random prompts (default %(default)s)")
    bench.add_argument("--max-tokens", type=_integer(1), default=128, help="of each answer (default %(default)s)")
    bench.add_argument("--batch-sizes", type=_integer(1), nargs="+", default=[1, 8], help="default %(default)s")
    bench.add_argument(
        "--num-drafts", type=_num_drafts, nargs="+", help="0, 1, … or auto (default: 0, then each MTP layer more)"
    )
    bench.add_argument("--temperature", type=float, default=0.0, help="0 for greedy (default)")
    bench.add_argument(
        "--simulate", type=_share, nargs="+", metavar="SHARE", help="take drafts as accepted this often, layer by layer"
    )
    bench.add_argument("--device", default="auto", help="default: the first GPU, else the CPU")
    bench.add_argument("--dtype", default="auto", help="default: the files', or the recipe's")

    acceptance = add("acceptance", _acceptance, "measure each MTP layer's acceptance, and a control")
    acceptance.add_argument("checkpoint", type=Path)
    acceptance.add_argument("out", type=Path, help="a .json file")
    acceptance.add_argument("--prompts", type=Path, required=True, help="a .jsonl file, `prompt` in each line")
    acceptance.add_argument("--num", type=_integer(1), default=64, help="prompts to take (default %(default)s)")
    acceptance.add_argument("--max-tokens", type=_integer(1), default=128, help="of each answer (default %(default)s)")
    return parser


def _init(arguments: argparse.Namespace) -> None:
    from mimo_model.initialize import init, read_recipe
    from mimo_model.outputs import header, is_complete, new_folder

    recipe = read_recipe(arguments.recipe, arguments.set)
    made_by = header("init", dataclasses.asdict(recipe), {})
    if is_complete(arguments.out, made_by):
        print(f"{arguments.out}: complete, reused")
        return
    with new_folder(arguments.out, made_by) as folder:
        model = init(recipe, folder)
    print(f"{arguments.out}: {sum(parameter.numel() for parameter in model.parameters()):,} parameters")


def _check(arguments: argparse.Namespace) -> None:
    from mimo_model.initialize import read_recipe

    read_recipe(arguments.recipe, arguments.set)
    print(f"{arguments.recipe}: a recipe of `mimo-model init`")


def _generate(arguments: argparse.Namespace) -> None:
    from mimo_model import Sampling, generate, load_model, load_tokenizer
    from mimo_model.generate import encode_prompt

    settings = {"temperature": arguments.temperature, "top_p": arguments.top_p, "top_k": arguments.top_k}
    max_tokens = 1 if arguments.max_tokens is None else arguments.max_tokens
    sampling = Sampling(max_tokens=max_tokens, seed=arguments.seed, **settings)
    model, tokenizer = load_model(arguments.checkpoint), load_tokenizer(arguments.checkpoint)
    if arguments.max_tokens is None:
        longest = max(len(encode_prompt(tokenizer, prompt)) for prompt in arguments.prompt)
        room = max(model.config.max_position_embeddings - longest, 1)
        sampling = dataclasses.replace(sampling, max_tokens=room)
    num_drafts = len(model.model.mtp_layers) if arguments.num_drafts is None else arguments.num_drafts
    for completion in generate(model, tokenizer, arguments.prompt, sampling, num_drafts=num_drafts):
        print(tokenizer.decode(list(completion.tokens), skip_special_tokens=True))
        drafted, accepted = completion.num_drafted, completion.num_accepted
        drafts = ", ".join(f"{a} of {d} drafts" for a, d in zip(accepted, drafted, strict=True)) or "no drafts"
        print(f"[{len(completion.tokens)} tokens, {completion.finish}; accepted {drafts}]", file=sys.stderr)


def _num_drafts(text: str) -> int | Literal["auto"]:
    return "auto" if text == "auto" else _integer(0)(text)


def _integer(least: int, most: int = 2**31 - 1) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.removeprefix("-").isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r}: wanted an integer from {least} to {most}")
        return int(text)

    return parse


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: wanted a number from 0 to 1")
    return value


def _chat(arguments: argparse.Namespace) -> None:
    import secrets

    from mimo_model import Engine, Sampling, load_model, load_tokenizer
    from mimo_model.serving.chat import chat

    model, tokenizer = load_model(arguments.checkpoint), load_tokenizer(arguments.checkpoint)
    sampling = Sampling(
        max_tokens=arguments.max_tokens or model.config.max_position_embeddings,
        temperature=arguments.temperature,
        top_p=arguments.top_p,
        top_k=arguments.top_k,
        seed=secrets.randbits(62) if arguments.seed is None else arguments.seed,
    )
    chat(Engine(model, tokenizer, num_drafts=arguments.num_drafts), tokenizer, sampling, system=arguments.system)


def _serve(arguments: argparse.Namespace) -> None:
    import os

    from mimo_model import Engine, load_model, load_tokenizer
    from mimo_model.errors import ModelError

    try:
        from mimo_model.serving.server import bind, serve
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        raise ModelError(f"{package} is missing: pip install 'mimo-model[serve]'") from None
    listener = bind(arguments.host, arguments.port)
    model, tokenizer = load_model(arguments.checkpoint), load_tokenizer(arguments.checkpoint)
    engine = Engine(model, tokenizer, num_drafts=arguments.num_drafts, max_batch_size=arguments.max_batch_size)
    folder = Path(arguments.checkpoint)
    serve(
        engine,
        tokenizer,
        listener,
        model_name=arguments.model_name or (folder.resolve().name if folder.exists() else arguments.checkpoint),
        api_key=arguments.api_key or os.environ.get("MIMO_API_KEY"),
    )


def _inspect(arguments: argparse.Namespace) -> None:
    from mimo_model.errors import ModelError
    from mimo_model.inspection import as_json, describe, inspect

    inspection = inspect(arguments.checkpoint)
    print(as_json(inspection) if arguments.json else describe(inspection))
    if inspection.num_faults:
        raise ModelError(
            f"{arguments.checkpoint}: {inspection.num_faults} tensors are missing, extra or misshapen, so load_model "
            "refuses it. Check that config.json and the files belong to one checkpoint."
        )


def _replicate(arguments: argparse.Namespace) -> None:
    from mimo_model import load_model, load_tokenizer, replicate_mtp, save_model
    from mimo_model.outputs import header, is_complete, new_folder, require_apart

    made_by = header("replicate-mtp", {"num_layers": arguments.num_layers}, {"checkpoint": arguments.checkpoint})
    require_apart(arguments.out, {"checkpoint": arguments.checkpoint})
    if is_complete(arguments.out, made_by):
        print(f"{arguments.out}: complete, reused")
        return
    model = replicate_mtp(load_model(arguments.checkpoint, device="cpu"), arguments.num_layers)
    with new_folder(arguments.out, made_by) as folder:
        save_model(model, load_tokenizer(arguments.checkpoint), folder)
    print(f"{arguments.out}: {arguments.num_layers} MTP layers")


def _export(arguments: argparse.Namespace) -> None:
    from mimo_model.export import export
    from mimo_model.outputs import header, is_complete, new_folder, require_apart

    if arguments.mtp_layers != "all" and not arguments.mtp_layers.isdecimal():
        raise ValueError(f"--mtp-layers {arguments.mtp_layers}: wanted a number, such as 1, or all.")
    settings = {
        "num_mtp_layers": None if arguments.mtp_layers == "all" else int(arguments.mtp_layers),
        "remote_code": not arguments.no_remote_code,
        "dtype": arguments.dtype,
        "max_shard_size": arguments.max_shard_size,
    }
    made_by = header("export", settings, {"checkpoint": arguments.checkpoint})
    require_apart(arguments.out, {"checkpoint": arguments.checkpoint})
    if is_complete(arguments.out, made_by):
        print(f"{arguments.out}: complete, reused")
        return
    with new_folder(arguments.out, made_by) as folder:
        num_layers = export(arguments.checkpoint, folder, **settings)
    print(f"{arguments.out}: {num_layers} MTP layers")


def _self_check(arguments: argparse.Namespace) -> None:
    from mimo_model import load_model, load_tokenizer
    from mimo_model.errors import ModelError
    from mimo_model.generate import encode_prompt
    from mimo_model.selfcheck import PROMPTS, describe, faults, self_check

    texts = PROMPTS if arguments.prompts is None else _read_prompts(arguments.prompts, arguments.num)
    model, tokenizer = load_model(arguments.checkpoint), load_tokenizer(arguments.checkpoint)
    prompts = [encode_prompt(tokenizer, text) for text in texts[: arguments.num]]
    checks = self_check(model, tokenizer, prompts, max_tokens=arguments.max_tokens)
    print(describe(checks))
    if sentences := faults(checks):
        raise ModelError(f"{arguments.checkpoint}: {'; '.join(sentences)}.")


def _plant(arguments: argparse.Namespace) -> None:
    from mimo_model import save_model
    from mimo_model.outputs import header, is_complete, new_folder
    from mimo_model.planted import plant

    sizes = {"num_layers": arguments.num_layers, "hidden_size": arguments.hidden_size}
    made_by = header("plant", {"acceptance": arguments.acceptance, **sizes}, {})
    if is_complete(arguments.out, made_by):
        print(f"{arguments.out}: complete, reused")
        return
    model, tokenizer = plant(arguments.acceptance, **sizes)
    with new_folder(arguments.out, made_by) as folder:
        save_model(model, tokenizer, folder)
    print(f"{arguments.out}: {len(arguments.acceptance)} MTP layers")


def _bench(arguments: argparse.Namespace) -> None:
    from mimo_model import load_model, load_tokenizer
    from mimo_model.bench import header, measure, memory_bandwidth, random_model, random_prompts, stand_in, table
    from mimo_model.checkpoint import find_device, floating_dtype, num_tokenizer_ids
    from mimo_model.config import MiMoConfig
    from mimo_model.generate import encode_prompt
    from mimo_model.initialize import read_recipe

    if arguments.random:
        recipe = read_recipe(Path(arguments.checkpoint))
        dtype = floating_dtype(arguments.dtype.replace("auto", recipe.dtype))
        model = random_model(MiMoConfig(**recipe.model), dtype=dtype, device=find_device(arguments.device))
        tokenizer = stand_in(model)
    else:
        model = load_model(arguments.checkpoint, device=arguments.device, dtype=arguments.dtype)
        tokenizer = load_tokenizer(arguments.checkpoint)
    weight = model.lm_head.weight
    print(header(weight.device, weight.dtype), flush=True)
    bandwidth = memory_bandwidth(model)
    measurements = []
    for batch_size in arguments.batch_sizes:
        if arguments.prompts:
            texts = _read_prompts(arguments.prompts, batch_size)
            prompts = [encode_prompt(tokenizer, texts[i % len(texts)]) for i in range(batch_size)]
        else:
            prompts = random_prompts(batch_size, arguments.prompt_tokens, num_tokenizer_ids(tokenizer))
        for num_drafts in arguments.num_drafts or range(len(model.model.mtp_layers) + 1):
            measurements.append(
                measure(
                    model,
                    tokenizer,
                    prompts,
                    num_drafts=num_drafts,
                    max_tokens=arguments.max_tokens,
                    temperature=arguments.temperature,
                    simulated_acceptance=arguments.simulate if num_drafts else None,
                )
            )
    print(table(measurements, bandwidth))


def _acceptance(arguments: argparse.Namespace) -> None:
    from mimo_model import load_model, load_tokenizer
    from mimo_model.acceptance import measure_acceptance
    from mimo_model.generate import encode_prompt
    from mimo_model.outputs import header, is_complete, require_apart, write_json

    settings = {"num_prompts": arguments.num, "max_tokens": arguments.max_tokens}
    inputs = {"checkpoint": arguments.checkpoint, "prompts": arguments.prompts}
    made_by = header("acceptance", settings, inputs)
    require_apart(arguments.out, inputs)
    if is_complete(arguments.out, made_by):
        print(f"{arguments.out}: complete, reused")
        return
    texts = _read_prompts(arguments.prompts, arguments.num)
    model, tokenizer = load_model(arguments.checkpoint), load_tokenizer(arguments.checkpoint)
    prompts = [encode_prompt(tokenizer, text) for text in texts]
    layers = measure_acceptance(model, tokenizer, prompts, max_tokens=arguments.max_tokens)
    write_json(arguments.out, made_by, {"layers": [dataclasses.asdict(layer) for layer in layers]})
    for layer in layers:
        print(
            f"MTP layer {layer.layer}: acceptance {layer.acceptance:.3f}, control {layer.control:.3f}; "
            f"engine accepted {layer.num_accepted:,} of {layer.num_drafted:,} drafts"
        )


def _read_prompts(file: Path, num_prompts: int) -> list[str]:
    from mimo_model.errors import ModelError

    prompts: list[str] = []
    try:
        with file.open(encoding="utf-8") as stream:
            lines = list(itertools.islice(stream, num_prompts))
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{file}: cannot be read ({error}). Give a .jsonl file, `prompt` in each line.") from None
    for number, line in enumerate(lines, start=1):
        try:
            prompts.append(str(json.loads(line)["prompt"]))
        except (ValueError, KeyError, TypeError):
            raise ModelError(f"{file}: line {number} is not a JSON object with a `prompt`.") from None
    if not prompts:
        raise ModelError(f"{file}: holds no prompts.")
    return prompts


if __name__ == "__main__":
    sys.exit(main())
