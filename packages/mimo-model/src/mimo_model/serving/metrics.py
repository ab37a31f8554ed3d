"""The server's counts in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Mapping

from mimo_model.serving.service import EngineService


def prometheus_text(service: EngineService) -> str:
    """What a scrape of /metrics gets."""
    statistics = service.statistics
    drafted = {f'layer="{layer}"': count for layer, count in enumerate(statistics.num_drafted, start=1)}
    accepted = {f'layer="{layer}"': count for layer, count in enumerate(statistics.num_accepted, start=1)}
    ratios = {label: accepted[label] / count for label, count in drafted.items() if count}
    finished = {f'finish="{finish}"': count for finish, count in statistics.num_finished.items()}
    return "".join(
        (
            _metric("prompt_tokens_total", "counter", "Prompt tokens read.", {"": statistics.num_prompt_tokens}),
            _metric("generated_tokens_total", "counter", "Tokens generated.", {"": statistics.num_tokens}),
            _metric("requests_total", "counter", "Finished generations, by how they ended.", finished),
            _metric("requests_running", "gauge", "Generations that have got tokens.", {"": service.num_running}),
            _metric("requests_waiting", "gauge", "Generations without a token yet.", {"": service.num_waiting}),
            _metric("drafted_tokens_total", "counter", "Drafts per MTP layer, of finished generations.", drafted),
            _metric("accepted_tokens_total", "counter", "Accepted drafts per MTP layer.", accepted),
            _metric("draft_acceptance", "gauge", "Accepted share of the drafts per MTP layer.", ratios),
        )
    )


def _metric(name: str, kind: str, summary: str, values: Mapping[str, float]) -> str:
    lines = [f"# HELP mimo_{name} {summary}", f"# TYPE mimo_{name} {kind}"]
    lines += [f"mimo_{name}{f'{{{labels}}}' if labels else ''} {value}" for labels, value in values.items()]
    return "\n".join(lines) + "\n"
