"""The quickstart's data: what people say, and its topic; from the English part of chatterbot-corpus (BSD-3-Clause).

The package's files are read as data, the package itself is never imported. Rules, applied mechanically:

1. An utterance is the first line of a conversation, its topic the name of the file.
2. Dropped: an utterance that stands under two topics, and one of fewer than three words ("Hello there").
3. Dropped: a topic where two in five utterances or more speak to the bot ("you", "your", the asking form "can you …"
   aside): those files hold small talk, whose topic nobody could name from one line.
4. Dropped: ``trivia``, which asks about all the other topics.
5. Dropped: a topic with fewer than eight utterances left. Of a large topic, 40 are taken, by hash.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from udfs.errors import InputError

_PACKAGE = "chatterbot_corpus"
_FEWEST_WORDS, _FEWEST_ROWS, _MOST_ROWS = 3, 8, 40
_SMALL_TALK_SHARE = 0.4
_CATCH_ALL = frozenset({"trivia"})
_ASKING = re.compile(r"^(can|do|did|have|could|would) you (know|read|ever|write|seen|understand|add|use|explain)\b")
_ADDRESSES = re.compile(r"\b(you|your|yours|yourself)\b")


def load_records() -> list[dict[str, Any]]:
    """Return the records, in a fixed order: ``{"inputs": {"text"}, "expectations": {"expected_response": topic}}``.

    Raises:
        InputError: the package is not installed.
    """
    by_topic: dict[str, list[str]] = defaultdict(list)
    topics_of: dict[str, dict[str, str]] = defaultdict(dict)
    for topic, text in _utterances(_folder()):
        topics_of[_normal(text)].setdefault(topic, text)
    for words, found in topics_of.items():
        if len(found) == 1 and len(words.split()) >= _FEWEST_WORDS:
            ((topic, text),) = found.items()
            by_topic[topic].append(text)
    records = []
    for topic, texts in sorted(by_topic.items()):
        if topic in _CATCH_ALL or len(texts) < _FEWEST_ROWS or _small_talk(texts) >= _SMALL_TALK_SHARE:
            continue
        chosen = sorted(texts, key=lambda text: hashlib.sha256(text.encode()).hexdigest())[:_MOST_ROWS]
        label = topic.replace("_", " ")
        records += [{"inputs": {"text": text}, "expectations": {"expected_response": label}} for text in chosen]
    return records


def _folder() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)  # finds, does not import
    places = list(spec.submodule_search_locations or ()) if spec else []
    folder = Path(places[0]) / "data" / "english" if places else None
    if folder is None or not folder.is_dir():
        raise InputError("the quickstart's data is not installed; run: pip install 'promptmill[quickstart]'")
    return folder


def _utterances(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.glob("*.yml")):
        document: Mapping[str, Any] = yaml.safe_load(path.read_text("utf-8"))
        for conversation in document["conversations"]:
            yield path.stem, " ".join(str(conversation[0]).split())


def _normal(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", " ", text.lower()).strip()


def _small_talk(texts: list[str]) -> float:
    """Share of the texts that speak to the bot."""
    return sum(bool(_ADDRESSES.search(_ASKING.sub("", _normal(text)))) for text in texts) / len(texts)
