"""What else than the old and the new state may be seen: texts that follow from those of both."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

# Words of a kind: what one of them names could be another of them. A name may have several words.
COLOURS = (
    "red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "black", "brown", "grey",
)  # fmt: skip
SHAPES = ("circle", "square", "triangle", "star")
PEOPLE = ("man", "woman", "child")
ANIMALS = ("dog", "cat", "bird", "horse")
VEHICLES = ("car", "bus", "train", "boat", "rocket")
PLACES = (
    "sky", "desert", "forest", "sea", "city", "beach", "field", "street", "room", "mountain",
)  # fmt: skip
DAY = ("by day", "in daylight", "during the day", "at noon", "in the morning")
NIGHT = ("at night", "by night", "in the dark", "at midnight", "at dusk")
KINDS = (COLOURS, SHAPES, PEOPLE, ANIMALS, VEHICLES, PLACES)

IN_A_PLACE = frozenset({"in", "on", "at", "over", "above", "across", "through", "inside", "under"})
BESIDE = frozenset({"beside", "near", "by", "behind", "between", "before", "during", "below", "against"})
ARTICLES = frozenset({"a", "an", "the"})
LINKS = IN_A_PLACE | BESIDE | {"of", "with", "and"}  # after which an article goes on with the phrase
EMPTY = frozenset({"empty", "deserted", "nothing", "nobody", "without", "alone"})


def suggested_distractors(old: str, new: str) -> tuple[str, ...]:
    """Texts of what a frame may show instead of an old and a new state, each once; neither of the two is among them.

    Half-changed: the subject of one in the surroundings of the other, and either with a word of the other. Nothing: the
    surroundings without their subject. Something else: either with another colour, shape, person, animal, vehicle or
    place, or at the other time of day. A text in which none of these is found gives none. Only English is read.
    """
    states = {_named(old), _named(new)}
    moved = (*_moved(old, new), *_moved(new, old), *_other(new), *_other(old))
    texts = (*_mixed(old, new), *_emptied(old, new), *(text for text in moved if _named(text) not in states))
    return tuple(
        text for text in dict.fromkeys(texts) if not any(_says_less(text, state) for state in (old, new))
    )


def subject_and_surroundings(text: str) -> tuple[str, list[str]]:
    """A text without its phrases of place and time, and these phrases in order."""
    subject: list[str] = []
    phrases: list[list[str]] = []
    inside = False
    for word in re.findall(r"[^\s,;.]+|[,;.]", text):
        if word in ",;.":
            inside = False
        elif word.lower() in IN_A_PLACE | BESIDE:
            phrases.append([word])
            inside = True
        elif inside and not (word.lower() in ARTICLES and phrases[-1][-1].lower() not in LINKS):
            phrases[-1].append(word)
        else:
            subject.append(word)
            inside = False
    return " ".join(subject), [" ".join(phrase) for phrase in phrases]


def _mixed(old: str, new: str) -> Iterator[str]:
    """The subject of each in the surroundings of the other, where both parts differ in more than their wording."""
    (old_subject, old_places), (new_subject, new_places) = map(subject_and_surroundings, (old, new))
    parts = (old_subject, new_subject), (" ".join(old_places), " ".join(new_places))
    if not all(_differ(*part) for part in parts):
        return
    if _is_empty(old) or _is_empty(new):
        return
    yield " ".join([old_subject, *new_places])
    yield " ".join([new_subject, *old_places])


def _emptied(old: str, new: str) -> Iterator[str]:
    """The surroundings of each without a subject, unless one of them is empty already."""
    if _is_empty(old) or _is_empty(new):
        return
    for text in (new, old):
        _, phrases = subject_and_surroundings(text)
        places = [n for n, phrase in enumerate(phrases) if _is_place(phrase)]
        if places:
            noun = phrases[places[-1]].split()[1:]
            noun = noun[1:] if noun and noun[0].lower() in ARTICLES else noun
            yield " ".join(["an empty", *noun, *phrases[places[-1] + 1 :]])


def _moved(text: str, other: str) -> Iterator[str]:
    """A text with the other one's word of a kind, for each kind of which both have one, and with all of them."""
    moved = text
    for kind in KINDS:
        mine, theirs = ([word for word in kind if _has(one, word)] for one in (text, other))
        if len(mine) == len(theirs) == 1 and mine != theirs:
            yield _replaced(text, mine[0], theirs[0])
            moved = _replaced(moved, mine[0], theirs[0])
    yield moved
    yield from _at_the_other_time(moved)


def _other(text: str) -> Iterator[str]:
    """A text with another word of a kind, for each of its words."""
    for kind in KINDS:
        for word in kind:
            if _has(text, word):
                yield from (_replaced(text, word, another) for another in kind if another != word)
    yield from _at_the_other_time(text)


def _at_the_other_time(text: str) -> Iterator[str]:
    for times, others in ((DAY, NIGHT), (NIGHT, DAY)):
        yield from (_replaced(text, time, others[0]) for time in times if _has(text, time))


def _named(text: str) -> frozenset[str]:
    """What a text names of each kind, its time of day, and whether it is empty: equal for other words of one scene."""
    words = {word for kind in KINDS for word in kind if _has(text, word)}
    times = {
        name for name, times in (("day", DAY), ("night", NIGHT)) if any(_has(text, time) for time in times)
    }
    return frozenset(words | times | ({"empty"} if _is_empty(text) else set()))


def _differ(part: str, other: str) -> bool:
    """Whether two parts name different things, or, where one names none that is known, each says what the other does not."""
    if _named(part) and _named(other):
        return _named(part) != _named(other)
    return bool(_words(part) - _words(other) and _words(other) - _words(part))


def _has(text: str, word: str) -> bool:
    return re.search(rf"\b{word}\b", text, re.IGNORECASE) is not None


def _replaced(text: str, word: str, another: str) -> str:
    """A text with another word for each occurrence of one, after the article that it takes."""
    changed = re.sub(rf"\b{word}\b", another, text, flags=re.IGNORECASE)
    words = changed.split(" ")
    for number, (article, following) in enumerate(pairwise(words)):
        if article.lower() in ("a", "an") and following == another.split(maxsplit=1)[0]:
            words[number] = article[0] + ("n" if another[0] in "aeiou" else "")
    return " ".join(words)


def _is_place(phrase: str) -> bool:
    return phrase.split(maxsplit=1)[0].lower() in IN_A_PLACE and phrase.lower() not in DAY + NIGHT


def _is_empty(text: str) -> bool:
    return bool(_words(text) & EMPTY)


def _says_less(text: str, state: str) -> bool:
    """Whether a text says nothing that a state does not say, too: then both are seen at once."""
    return _words(text) - LINKS <= _words(state)


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower())) - ARTICLES
