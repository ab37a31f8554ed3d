"""What heuristic rules drop of real pages of mathematics and code, and what a tagger from nothing keeps of that.

`tagging.py [--corpus DIR]`: DIR holds `manifest.jsonl`, `html/` and `truth/`, as the corpus of the project's scorers.

Labels come from no model: the domain from the page's set and truth (formulas, code blocks; for pages without such
truth, whether the extracted text has fences or LaTeX), quality 2 for every page of the corpus. Junk, quality 0, is what
a tagger must not keep: the furniture of the same pages (navigation, header, footer, asides, extracted like a page), and
thin, error and advertising pages put together from phrases. All is cross-validated: a page is tagged by a student that
has seen no page and no furniture of its site, and no phrase of its fold.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import json
import platform
import random
import time
from collections import Counter
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import torch
import transformers
from lxml import html

from mimo_data import Document, extract_html
from mimo_data.sources.decoding import decode, page_url
from mimo_data.tag.calibration import expected_calibration_error
from mimo_data.tag.report import compare, to_markdown
from mimo_data.tag.tagger import Tagger

NUM_FOLDS = 5
FURNITURE = ("nav", "header", "footer", "aside")
NUM_MADE_UP = 30
THINGS = [
    "running shoes", "kitchen knives", "garden hoses", "car insurance", "phone cases", "office chairs", "air fryers",
    "wedding dresses", "dog beds", "protein bars", "hair dryers", "suitcases", "mattresses", "sunglasses", "drones",
]  # fmt: skip
SALES = [
    "Order today and save {n}% on all {thing}!", "Free shipping on {thing} over ${n}.", "Shop all {thing}",
    "Why our {thing}? Because you deserve it.", "Best {thing} {n} at the lowest price, guaranteed.", "Add to cart",
    "Limited offer: only {n} {thing} left in stock!", "Customers who bought {thing} also looked at these.",
    "Sale! Was ${n}9.99, now ${n}.99", "Sign up and get {n}% off your first {thing}.", "Buy {thing} now, pay later.",
    "Rated {n} out of 5 by happy buyers", "New in: {thing} for every taste.", "Click here for exclusive {thing} deals",
    "The {thing} everybody is talking about. Get yours!",
]  # fmt: skip
THIN = [
    "Page not found. The page that you asked for does not exist.", "404", "Please log in to see this content.",
    "We use cookies to make your visit better. Accept all", "Your session has expired. Sign in again.", "Access denied",
    "Please turn on JavaScript to go on.", "There are no results for your search.", "Coming soon. Leave your address.",
    "This video is not available in your country.", "Checking your browser before you continue.", "Read more",
    "The server had an error. Try again later.", "This thread is closed. You must be registered to reply.",
    "Thank you for your message. We will get back to you.", "Go back to the home page", "Subscribe to read on.",
    "This domain is for sale. Ask for a price.", "You have been redirected.", "Too many requests. Wait a moment.",
]  # fmt: skip


def site_of(url: str, name: str) -> str:
    host = urlsplit(url).hostname
    return ".".join(host.split(".")[-2:]) if host else name


def fold_of(site: str) -> int:
    return int.from_bytes(sha256(site.encode()).digest()[:4]) % NUM_FOLDS


def labels(row: dict, text: str) -> dict[str, str]:
    """The tags of one page of the corpus; the rules are this file's docstring's."""
    kind, tags = row["kind"], {"quality": "2"}
    has_code = row["n_code"] > 0 or text.count("```") >= 2
    has_formulas = row["n_formulas"] > 0 or (text.count("$") > 20 and "\\" in text)
    if row["set"] == "cpalgo" or kind in ("documentation", "code", "codeblocks", "math", "forum"):
        if kind == "math" or (has_formulas and not has_code):
            tags["domain"] = "mathematics"
        elif kind in ("code", "codeblocks") or has_code:
            tags["domain"] = "code"
        elif kind == "forum":
            tags["domain"] = "general"
    elif kind in ("article", "artical", "general", "comments"):
        tags["domain"] = "general"
    return tags


def furniture(page: str) -> str:
    """What a page has around its content, extracted as if it were all of it."""
    tree = html.document_fromstring(page.encode(), parser=html.HTMLParser(encoding="utf-8"))
    body = html.Element("main")
    for element in tree.xpath(" | ".join(f"//{tag}" for tag in FURNITURE)):
        if any(above.tag in (*FURNITURE, "article", "main") for above in element.iterancestors()):
            continue
        part = copy.deepcopy(element)
        part.tail = None
        for inner in part.iter(html.etree.Element):
            inner.attrib.clear()
            if inner.tag in FURNITURE:
                inner.tag = "div"
        body.append(part)
    return extract_html(f"<html><body>{html.tostring(body, encoding='unicode')}</body></html>")


def corpus(folder: Path) -> list[Document]:
    found, seen = [], set()
    for line in (folder / "manifest.jsonl").read_text().splitlines():
        row = json.loads(line)
        page = decode(gzip.decompress((folder / row["file"]).read_bytes()))
        url = row.get("url") or page_url(page)
        site = "cp-algorithms.com" if row["set"] == "cpalgo" else site_of(url, row["id"])
        text = extract_html(page, url=url)
        if text and row["kind"] not in ("img", "table", "elements"):
            name = f"{row['set']}/{row['id']}"
            found.append(Document(id=name, text=text, source="web", url=f"http://{site}/", tags=labels(row, text)))
        if row["set"] != "defuddle":
            text = furniture(page)
            if len(text) > 80 and text not in seen:
                seen.add(text)
                name, tags = f"furniture/{row['id']}", {"quality": "0"}
                found.append(Document(id=name, text=text, source="web", url=f"http://{site}/", tags=tags))
    return found


def made_up(draw: random.Random) -> list[Document]:
    """Thin and advertising pages; those of a fold share no phrase with those of another."""
    found = []
    for number in range(2 * NUM_MADE_UP):
        fold, kind = number % NUM_FOLDS, ("thin", "advertising")[number % 2]
        phrases = (THIN if kind == "thin" else SALES)[fold::NUM_FOLDS]
        things = THINGS[fold::NUM_FOLDS]
        count = 1 + number % 3 if kind == "thin" else draw.randrange(4, 20)
        lines = [draw.choice(phrases).format(n=draw.randrange(10, 90), thing=draw.choice(things)) for _ in range(count)]
        # A site of the right fold, so that the folds of sites are those of phrases.
        site = next(f"{kind}{n}.example" for n in range(number, 10_000) if fold_of(f"{kind}{n}.example") == fold)
        tags = {"quality": "0", **({"domain": "advertising"} if kind == "advertising" else {})}
        text = "\n\n".join(lines)
        found.append(Document(id=f"{kind}/{number}", text=text, source="web", url=f"http://{site}/", tags=tags))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=Path("../shared/data/corpus"), metavar="DIR")
    folder = parser.parse_args().corpus
    if not folder.exists():
        parser.error(f"{folder}: no such folder; name the corpus with --corpus")
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    documents = corpus(folder) + made_up(random.Random(0))
    folds = [fold_of(urlsplit(document.url).hostname or "") for document in documents]
    tagged: dict[str, Document] = {}
    train_s = tag_s = 0.0
    for fold in range(NUM_FOLDS):
        seen = [document for document, other in zip(documents, folds, strict=True) if other != fold]
        unseen = [document for document, other in zip(documents, folds, strict=True) if other == fold]
        start_s = time.process_time()
        tagger = Tagger.train(seen)
        trained_s = time.process_time()
        blind = [msgspec.structs.replace(document, tags={}, url="") for document in unseen]
        tagged |= {document.id: document for document in tagger.tag(blind)}
        train_s += trained_s - start_s
        tag_s += time.process_time() - trained_s
    found = [tagged[document.id] for document in documents]
    print(
        f"{platform.machine()}, one core, Python {platform.python_version()}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}; {len(documents)} documents, {NUM_FOLDS} folds by site, one repeat\n"
    )
    print(to_markdown(compare(documents, found, min_quality=1)))
    print("| documents | number | dropped by any rule | dropped by the tagger |\n| --- | --- | --- | --- |")
    for name in sorted({document.id.split("/")[0] for document in documents}):
        chosen = [number for number, document in enumerate(documents) if document.id.startswith(f"{name}/")]
        rows = compare([documents[n] for n in chosen], [found[n] for n in chosen], min_quality=1)
        sums = [sum(row[n] for row in ((r.dropped_by_rules, r.dropped_by_tagger) for r in rows)) for n in (0, 1)]
        print(f"| {name} | {len(chosen)} | {sums[0]} | {sums[1]} |")
    print("\n| tag | documents | accuracy | calibration error |\n| --- | --- | --- | --- |")
    for name in ("domain", "quality"):
        pairs = [(d.tags[name], f.tags) for d, f in zip(documents, found, strict=True) if name in d.tags]
        right = torch.tensor([truth == tags[name] for truth, tags in pairs])
        sure = torch.tensor([float(tags[f"{name}_confidence"]) for _, tags in pairs])
        error = expected_calibration_error(sure[:, None], torch.zeros(len(pairs), dtype=torch.long), (~right).long())
        print(f"| {name} | {len(pairs)} | {float(right.float().mean()):.3f} | {error:.3f} |")
    confused = Counter(
        f"{d.tags['domain']} → {f.tags['domain']}"
        for d, f in zip(documents, found, strict=True)
        if d.tags.get("domain", f.tags["domain"]) != f.tags["domain"]
    )
    print(f"\ndomains confused: {', '.join(f'{count} {pair}' for pair, count in confused.most_common(8))}")
    print(f"CPU seconds: {train_s / NUM_FOLDS:.0f} a training; {len(documents) / tag_s:.0f} documents/s tagged")


if __name__ == "__main__":
    main()
