"""How well the fine-tuning filters tell mixed from unmixed and broken-off from whole samples.

Run with no arguments for samples made of the sentences below; or name .jsonl files of whole, unmixed samples (id,
prompt, response), whose flagged share is then the false alarms, and whose responses are cut at random places.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import time
from collections.abc import Callable
from pathlib import Path

from mimo_data.sft.completeness import why_incomplete
from mimo_data.sft.languages import why_mixed

NUM_SAMPLES = 400
# Each first sentence is the query; none of these stands in the tests.
SENTENCES = {
    "English": """Why does bread rise in the oven?
Yeast eats the sugar in the dough and gives off a gas that cannot escape.
When we knead the dough, its proteins form a net which holds the bubbles.
The heat makes the bubbles grow until the crust is firm.
A loaf that has rested for a longer time will taste better.
If there is too much salt, the yeast works more slowly.
That is why bakers weigh everything with care.""",
    "French": """Pourquoi le pain lève-t-il dans le four ?
La levure mange le sucre de la pâte et produit un gaz qui ne peut pas sortir.
Quand nous pétrissons la pâte, ses protéines forment un filet qui retient les bulles.
La chaleur fait grandir les bulles jusqu'à ce que la croûte soit ferme.
Un pain qui a reposé plus longtemps est meilleur pour le goût.
Si le sel est en excès, la levure travaille moins vite dans la pâte.
C'est pour cela que les boulangers pèsent tout avec soin.""",
    "German": """Warum geht das Brot im Ofen auf?
Die Hefe frisst den Zucker im Teig und gibt ein Gas ab, das nicht entweichen kann.
Wenn wir den Teig kneten, bilden die Eiweiße ein Netz, das die Blasen hält.
Die Wärme lässt die Blasen wachsen, bis die Kruste fest ist.
Ein Brot, das länger geruht hat, schmeckt besser und ist nicht so trocken.
Mit zu viel Salz arbeitet die Hefe langsamer.
Das ist der Grund, warum die Bäcker alles mit Sorgfalt wiegen.""",
    "Spanish": """¿Por qué sube el pan en el horno?
La levadura come el azúcar de la masa y produce un gas que no puede salir.
Cuando amasamos la masa, sus proteínas forman una red que retiene las burbujas.
El calor hace crecer las burbujas hasta que la corteza es firme.
Un pan que ha reposado más tiempo es mejor para el gusto.
Si hay demasiada sal, la levadura no trabaja con la misma fuerza.
Por eso los panaderos pesan todo con cuidado en el taller.""",
    "Chinese": """面包在烤箱里为什么会膨胀？
酵母吃掉面团里的糖，放出无法逸出的气体。
我们揉面的时候，蛋白质形成一张网，把气泡留住。
温度升高以后，气泡越来越大，直到外皮变硬。
醒发时间更长的面包味道更好。
如果盐放得太多，酵母的活动就会变慢。
所以面包师总是仔细地称量每一种原料。""",
    "Japanese": """パンはなぜオーブンの中で膨らむのですか。
酵母は生地の糖を食べて、逃げられないガスを出します。
生地をこねると、たんぱく質が網を作り、泡を閉じ込めます。
熱によって泡は大きくなり、やがて皮が固まります。
長く寝かせたパンのほうが味がよくなります。
塩が多すぎると、酵母の働きは遅くなります。
だからパン職人はすべてを丁寧に量ります。""",
    "Korean": """빵은 오븐에서 왜 부풀어 오르나요?
효모는 반죽 속의 당을 먹고 빠져나갈 수 없는 기체를 내보냅니다.
반죽을 치대면 단백질이 그물을 만들어 거품을 붙잡습니다.
열 때문에 거품이 점점 커지고 마침내 껍질이 단단해집니다.
더 오래 숙성한 빵은 맛이 더 좋습니다.
소금이 너무 많으면 효모가 느리게 움직입니다.
그래서 제빵사는 모든 재료를 꼼꼼하게 잽니다.""",
    "Russian": """Почему хлеб поднимается в печи?
Дрожжи едят сахар в тесте и выделяют газ, который не может выйти.
Когда мы месим тесто, белки образуют сеть, которая держит пузырьки.
От тепла пузырьки растут, пока корка не станет твёрдой.
Хлеб, который дольше отдыхал, вкуснее.
Если соли слишком много, дрожжи работают медленнее.
Поэтому пекари всё тщательно взвешивают.""",
    "Arabic": """لماذا ينتفخ الخبز في الفرن؟
تأكل الخميرة السكر في العجين وتطلق غازا لا يستطيع الخروج.
عندما نعجن العجين تشكل البروتينات شبكة تمسك الفقاعات.
تجعل الحرارة الفقاعات تكبر حتى تصبح القشرة صلبة.
الخبز الذي يرتاح مدة أطول يكون أطيب.
إذا كان الملح كثيرا تعمل الخميرة ببطء.
لذلك يزن الخبازون كل شيء بعناية.""",
    "Hindi": """ओवन में रोटी क्यों फूलती है?
खमीर आटे की चीनी खाता है और एक गैस छोड़ता है जो बाहर नहीं निकल सकती।
जब हम आटा गूंधते हैं तो प्रोटीन एक जाल बनाते हैं जो बुलबुलों को रोकता है।
गर्मी से बुलबुले बढ़ते हैं जब तक परत सख्त न हो जाए।
जो रोटी देर तक रखी जाती है वह अधिक स्वादिष्ट होती है।
यदि नमक बहुत अधिक हो तो खमीर धीरे काम करता है।
इसलिए रसोइये हर चीज़ को ध्यान से तौलते हैं।""",
}
LATIN = ("English", "French", "German", "Spanish")
UNSPACED = ("Chinese", "Japanese")
TERMS = (
    "Saccharomyces cerevisiae",
    "CO2",
    "pH 5",
    "gluten network",
    "Maillard",
    "oven spring",
    "ISO 9001",
    "KitchenAid",
)
CODE = "```python\n# we wait until the dough has doubled\nwhile dough.volume < 2:\n    wait(minutes=5)\n```"
FORMULA = "$$\n\\text{the volume of the dough}\\; V = V_0 e^{kt}\n$$"

Sample = tuple[str, str]


def lines(language: str) -> tuple[str, list[str]]:
    query, *rest = SENTENCES[language].split("\n")
    return query, rest


def written(language: str, sentences: list[str], rng: random.Random) -> str:
    """Sentences as one paragraph, two, or a list."""
    space = "" if language in UNSPACED else " "
    kind = rng.randrange(3)
    if kind == 0:
        return space.join(sentences)
    if kind == 1:
        half = len(sentences) // 2
        return space.join(sentences[:half]) + "\n\n" + space.join(sentences[half:])
    return "\n".join(f"{number}. {sentence}" for number, sentence in enumerate(sentences, start=1))


def some(language: str, rng: random.Random) -> tuple[str, list[str]]:
    query, rest = lines(language)
    return query, rng.sample(rest, rng.randint(3, len(rest)))


def plain(language: str, other: str, rng: random.Random) -> Sample:
    query, sentences = some(language, rng)
    return query, written(language, sentences, rng)


def with_terms(language: str, other: str, rng: random.Random) -> Sample:
    query, sentences = some(language, rng)
    place = rng.randrange(len(sentences))
    words = sentences[place].split(" ")
    middle = len(words) // 2
    if language in UNSPACED:
        half = len(sentences[place]) // 2
        sentences[place] = f"{sentences[place][:half]} {rng.choice(TERMS)} {sentences[place][half:]}"
    else:
        sentences[place] = " ".join([*words[:middle], rng.choice(TERMS), *words[middle:]])
    return query, written(language, sentences, rng)


def with_mention(language: str, other: str, rng: random.Random) -> Sample:
    query, sentences = some(language, rng)
    _, foreign = lines(other)
    words = rng.choice(foreign).rstrip(".。।").split(" ")
    mention = words[0][:4] if other in UNSPACED else " ".join(words[:2])
    place = rng.randrange(len(sentences))
    left, right = rng.choice(["“”", "()", "《》", '""'])
    sentences[place] = f"{sentences[place][:-1]} {left}{mention}{right}{sentences[place][-1]}"
    return query, written(language, sentences, rng)


def with_code(language: str, other: str, rng: random.Random) -> Sample:
    query, sentences = some(language, rng)
    return query, f"{written(language, sentences, rng)}\n\n{rng.choice([CODE, FORMULA])}\n\n{sentences[0]}"


def with_reasoning(language: str, other: str, rng: random.Random) -> Sample:
    query, sentences = some(language, rng)
    return query, f"<think>\n{' '.join(sentences)}\n</think>\n\n{written(language, sentences, rng)}"


def other_answer(language: str, other: str, rng: random.Random) -> Sample:
    return lines(language)[0], plain(other, language, rng)[1]


def other_reasoning(language: str, other: str, rng: random.Random) -> Sample:
    query, response = plain(language, other, rng)
    return query, f"<think>\n{plain(other, language, rng)[1]}\n</think>\n\n{response}"


def other_sentence(language: str, other: str, rng: random.Random) -> Sample:
    query, sentences = some(language, rng)
    sentences.insert(rng.randrange(len(sentences) + 1), rng.choice(lines(other)[1]))
    return query, written(language, sentences, rng)


def other_phrase(language: str, other: str, rng: random.Random) -> Sample:
    """Four to seven words of another language in the middle of a sentence."""
    query, sentences = some(language, rng)
    foreign = rng.choice(lines(other)[1]).rstrip(".。।")
    phrase = foreign[: rng.randint(5, 9)] if other in UNSPACED else " ".join(foreign.split(" ")[: rng.randint(4, 7)])
    place = rng.randrange(len(sentences))
    middle = len(sentences[place]) // 2
    middle = middle if language in UNSPACED else sentences[place].index(" ", middle)
    sentences[place] = f"{sentences[place][:middle]} {phrase} {sentences[place][middle:].lstrip()}"
    return query, written(language, sentences, rng)


CLEAN: dict[str, Callable[[str, str, random.Random], Sample]] = {
    "one language": plain,
    "terms and names in Latin letters": with_terms,
    "a quotation or gloss": with_mention,
    "English code or formula text": with_code,
    "reasoning in the same language": with_reasoning,
}
MIXED: dict[str, Callable[[str, str, random.Random], Sample]] = {
    "answer in another language": other_answer,
    "reasoning in another language": other_reasoning,
    "a sentence in another language": other_sentence,
    "a phrase in another language": other_phrase,
}


def measure_languages(rng: random.Random) -> None:
    def flagged(make: Callable[[str, str, random.Random], Sample], is_alike: Callable[[str, str], bool]) -> float:
        pairs = [(a, b) for a in SENTENCES for b in SENTENCES if a != b and is_alike(a, b)]
        return sum(bool(why_mixed(*make(*rng.choice(pairs), rng))) for _ in range(NUM_SAMPLES)) / NUM_SAMPLES

    def same(a: str, b: str) -> bool:
        return a in LATIN and b in LATIN

    def across(a: str, b: str) -> bool:
        return not same(a, b) and {a, b} != set(UNSPACED)

    print("\n| sample | flagged, of two scripts | flagged, of two languages in Latin letters |\n| --- | --- | --- |")
    shares: dict[bool, list[float]] = {False: [], True: []}
    for is_mixed, kinds in ((False, CLEAN), (True, MIXED)):
        for name, make in kinds.items():
            found = flagged(make, across)
            shares[is_mixed].append(found)
            print(f"| {'mixed' if is_mixed else 'clean'}: {name} | {found:.3f} | {flagged(make, same):.3f} |")
    alarms, recall = (sum(shares[is_mixed]) / len(shares[is_mixed]) for is_mixed in (False, True))
    print(f"\nTwo scripts, as many clean as mixed: recall {recall:.3f}, precision {recall / (recall + alarms):.3f}.")


def measure_cuts(name: str, responses: list[str], rng: random.Random) -> None:
    """One row: whole responses flagged, and cut ones found, at any place and inside of sentences."""
    alarms = [bool(why_incomplete(response)) for response in responses]
    cuts = [
        response[: rng.randrange(len(response) // 4, len(response) - 2)].rstrip()
        for response in responses
        if len(response) > 40
    ]
    found = [bool(why_incomplete(cut)) for cut in cuts]
    inside = [hit for hit, cut in zip(found, cuts, strict=True) if cut[-1] not in ".!?。！？।؟"]
    print(f"| {name} | {len(responses)} | {share(alarms, 4)} | {share(found, 3)} | {share(inside, 3)} |")


def share(hits: list[bool], digits: int) -> str:
    return f"{sum(hits) / len(hits):.{digits}f}" if hits else "–"


def measure_files(paths: list[Path], rng: random.Random) -> None:
    print("| samples | number | mixed | MB/s |\n| --- | --- | --- | --- |")
    files: dict[str, list[dict[str, str]]] = {}
    for path in paths:
        rows = files[path.stem] = [json.loads(line) for line in path.read_text().split("\n") if line]
        start_s = time.process_time()
        num_mixed = sum(bool(why_mixed(row["prompt"], row["response"])) for row in rows)
        seconds = time.process_time() - start_s
        size = sum(len((row["prompt"] + row["response"]).encode()) for row in rows)
        print(f"| {path.stem} | {len(rows)} | {num_mixed / len(rows):.4f} | {size / seconds / 1e6:.1f} |")
    print_cut_header()
    for name, rows in files.items():
        measure_cuts(name, [row["response"] for row in rows], rng)


def print_cut_header() -> None:
    print("\n| responses | number | whole ones flagged | cut ones found | cut inside a sentence, found |")
    print("| --- | --- | --- | --- | --- |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", type=Path, nargs="*", metavar="FILE.jsonl")
    paths = parser.parse_args().files
    for path in paths:
        if not path.exists():
            parser.error(f"{path}: no such file")
    rng = random.Random(0)
    print(f"{platform.machine()}, Python {platform.python_version()}, one core; seed 0")
    if paths:
        measure_files(paths, rng)
        return
    measure_languages(rng)
    print_cut_header()
    for language in SENTENCES:
        measure_cuts(language, [plain(language, language, rng)[1] for _ in range(NUM_SAMPLES)], rng)


if __name__ == "__main__":
    main()
