"""Prompt timelines as text: every notation people use, what is said of wrong ones, the way back to text."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from itertools import pairwise

import pytest
from framepack_transitions.samplers.section_seeds import LARGEST_SEED
from framepack_transitions.samplers.timeline.syntaxes.brackets import format_spans
from framepack_transitions.samplers.timeline.syntaxes.scripts import format_script
from framepack_transitions.samplers.timeline.syntaxes.spans import PromptSpan, PromptSyntaxError
from framepack_transitions.samplers.timeline.syntaxes.table import SYNTAX_CHOICES, detect_syntax, parse
from hypothesis import given, settings
from hypothesis import strategies as st


def starts_and_texts(text: str, syntax: str = "auto", sections: int | None = 4) -> list[tuple[float, str]]:
    return [(span.start, span.text) for span in parse(text, syntax, sections=sections)]


BRACKETS = [
    ("[1s: a]", [(0, "a")]),  # the first prompt also holds before its start
    ("[0s: a][3s: b]", [(0, "a"), (3, "b")]),
    ("[0s: a] [3s-5s: b]", [(0, "a"), (3, "b")]),  # the gap after 5 s keeps b
    ("[0s-1s: a] [3s: b]", [(0, "a"), (3, "b")]),
    ("[0s: a], [2s: b].", [(0, "a"), (2, "b")]),
    ("a man [1.25s: b]", [(0, "a man"), (1.25, "b")]),
    ("[1.5s: b] a man", [(0, "a man"), (1.5, "b")]),
    ("a [1s: b] man", [(0, "a man"), (1, "b")]),
    ("[3s: c] [1s: b] a", [(0, "a"), (1, "b"), (3, "c")]),  # any order
    ("  [ 0 s :  a  ]\n\n[ 3.50 S - 5 s : b ]  ", [(0, "a"), (3.5, "b")]),
    ("[0s: a][3-5s: b][.5s: c]", [(0, "a"), (0.5, "c"), (3, "b")]),
    ("[0s: a][3s-: b][5s-6: c]", [(0, "a"), (3, "b"), (5, "c")]),
    ("a [3s: a] [5s: b]", [(0, "a"), (5, "b")]),  # identical neighbours merge
    ("a [3s: b] [5s: a]", [(0, "a"), (3, "b"), (5, "a")]),
    ("[0s-5s: a][3s-8s: b]", [(0, "a"), (5, "b")]),  # the earlier one keeps its time
    ("[0s-5s: a][3s: b]", [(0, "a"), (5, "b")]),
    ("x [3s: a: b; c | d]", [(0, "x"), (3, "a: b; c | d")]),
    ("x [3s: a\nman\n]", [(0, "x"), (3, "a\nman")]),
    ("x [3s: a (red:1.2) cat [soft] ]", [(0, "x"), (3, "a (red:1.2) cat [soft]")]),
    ("[red] x [3s: b]", [(0, "[red] x"), (3, "b")]),
    ("[1girl] [2] [3 cats] [3s: b]", [(0, "[1girl] [2] [3 cats]"), (3, "b")]),
    (r"x [3s: a \] b]", [(0, "x"), (3, "a ] b")]),
    (r"x \[2s: y\] [3s: b]", [(0, "x [2s: y]"), (3, "b")]),
    (r"x [3s: \(a\) \\ b\\]", [(0, "x"), (3, "\\(a\\) \\\\ b\\")]),
    ("x [3s: 男が消える 🎬👋🏽]", [(0, "x"), (3, "男が消える 🎬👋🏽")]),
    ("x [600s: a]", [(0, "x"), (600, "a")]),
    # frames at 30 a second, one unit for both numbers or one each
    ("x [36f: a] [90 frames: b]", [(0, "x"), (1.2, "a"), (3, "b")]),
    ("x [30-60f: a] [75f-3s: b]", [(0, "x"), (1, "a"), (2.5, "b")]),
    ("x [1 sec: a] [2 seconds: b]", [(0, "x"), (1, "a"), (2, "b")]),
    # as a Japanese keyboard writes it
    ("x ［１．５秒：a］［３ｓ: b］", [(0, "x"), (1.5, "a"), (3, "b")]),
    ("x【1秒～2秒: 赤】【3秒〜: [b] 】", [(0, "x"), (1, "赤"), (3, "[b]")]),
    ("【0秒： 男】、【3秒： 夜】。", [(0, "男"), (3, "夜")]),
    ("x [3s: 【赤】 a 】]", [(0, "x"), (3, "【赤】 a 】")]),
    (r"x \【3s: y】 [4s: \【5s: z】]", [(0, "x 【3s: y】"), (4, "【5s: z】")]),
    ("\ufeff[0s: a][3s: b]", [(0, "a"), (3, "b")]),
    # text behind the last bracket, as FramePack-Studio's prompt_handler.py and worker.py take it
    ("[0s: a] [3s: b] c", [(0, "a"), (1.2, "c"), (3, "b")]),
    ("[0s-2s: a] [3s: b] c", [(0, "a"), (2, "c"), (3, "b")]),
    ("[0s-2s: a] c", [(0, "a"), (2, "c")]),
    ("[3s: b] c", [(0, "c"), (3, "b")]),
]

TIMES = [
    ("0s: a\n1.2s: b", [(0, "a"), (1.2, "b")]),
    ("a\nman\n 36f : b\nc", [(0, "a\nman"), (1.2, "b\nc")]),
    ("１秒：a\n３秒～４秒：b | c", [(0, "a"), (3, "b | c")]),
    ("0-2s: a\n1s: b", [(0, "a"), (2, "b")]),
    ("5 s: just one", [(0, "just one")]),
]

KEYFRAMES = [
    ('{"0": "a", "36": "b"}', [(0, "a"), (1.2, "b")]),
    ('"0": "a",\n"90" :"b, \\"c\\" [3s: d]",\n', [(0, "a"), (3, 'b, "c" [3s: d]')]),
    ('{"0": "a => x", "2.5s": "b",}', [(0, "a"), (2.5, "b")]),
    ('{"0-30": "a", "15": "b\\nc \\u3042"}', [(0, "a"), (1, "b\nc あ")]),
]

SECTIONS = [  # four sections of 1.2 s
    ("0:a;;;2-3:b", [(0, "a"), (2.4, "b")]),
    ("0:a;;;2-3:b;;;-1:c", [(0, "a"), (2.4, "b"), (3.6, "c")]),
    (" 0 : a ;;; 1 - 2 : b ;;; 3 : c ", [(0, "a"), (1.2, "b"), (3.6, "c")]),
    ("0:a;;;1:b", [(0, "a"), (1.2, "b"), (2.4, "a")]),  # sections without a prompt get that of section 0
    ("a;;;2-3:b", [(0, "a"), (2.4, "b")]),
    ("a: b;;;2-3:c", [(0, "a: b"), (2.4, "c")]),
    ("1:a;;;3:b", [(0, "a"), (3.6, "b")]),
    ("-1:a;;;-4--2:b", [(0, "b"), (3.6, "a")]),
    ("-1:a;;;-3:b", [(0, "b"), (3.6, "a")]),
    ("3:x;;;0:a;;;-1:b", [(0, "a"), (3.6, "b")]),  # negative ones win
    ("0-3:a;;;2--1:b", [(0, "a"), (2.4, "b")]),
    ("0:a;;;2-99:b", [(0, "a"), (2.4, "b")]),
    ("0-99:a;;;3:b", [(0, "a"), (3.6, "b")]),
    ("2:b;;;0:a", [(0, "a"), (2.4, "b"), (3.6, "a")]),
    ("0:a;;;-2-9:b", [(0, "a"), (2.4, "b")]),
    ("0:a;;;7:b", [(0, "a"), (8.4, "b")]),  # beyond the end: kept, so that a report can say so
    ("0:a;;;2-3:b 16:9 🎬", [(0, "a"), (2.4, "b 16:9 🎬")]),
    ("０：a；；；２－３：b：１", [(0, "a"), (2.4, "b：１")]),
]

SCRIPTS = [  # as in the lines of MemFlow's and NarraStream-Bench's files
    ('{"prompts": ["a", "b", "c", "d"]}', [(0, "a"), (1.2, "b"), (2.4, "c"), (3.6, "d")]),
    (
        ' {\n"prompts":["a | \\"b\\"; [3s: c]", "d\\u96ea"], "seed": 5}\n',
        [(0, 'a | "b"; [3s: c]'), (2.4, "d雪")],
    ),
    ('{"prompts": ["a", "a", "b"]}', [(0, "a"), (3.2, "b")]),
    ('{"prompts": ["just one"]}', [(0, "just one")]),
]

EVENLY = [
    ("a | b | c | d", [(0, "a"), (1.2, "b"), (2.4, "c"), (3.6, "d")]),
    ("a|b", [(0, "a"), (2.4, "b")]),
    ("a | a | b", [(0, "a"), (3.2, "b")]),
    ("a\nman | b", [(0, "a\nman"), (2.4, "b")]),
    ("a\nb", [(0, "a"), (2.4, "b")]),
    ("\n\na\r\n\n  b  \n", [(0, "a"), (2.4, "b")]),
    ("just one prompt: a [red] cat, 16:9", [(0, "just one prompt: a [red] cat, 16:9")]),
    ("雪 | 雨", [(0, "雪"), (2.4, "雨")]),
    ("雪 ｜ 雨：１", [(0, "雪"), (2.4, "雨：１")]),
    ("a cat: 2 times, ratio 16:9\nin 5 s", [(0, "a cat: 2 times, ratio 16:9"), (2.4, "in 5 s")]),
    ("(soft light:1.2), (masterpiece: 2)", [(0, "(soft light:1.2), (masterpiece: 2)")]),
]


@pytest.mark.parametrize(("text", "expected"), BRACKETS + SECTIONS + TIMES + KEYFRAMES + SCRIPTS + EVENLY)
def test_every_notation_is_recognised_and_read(text, expected):
    assert starts_and_texts(text) == expected


@pytest.mark.parametrize(("text", "seconds", "start"), [("[0s: a] b", 1.2, 1.2), ("[0s: a] b", 0.8, 0.8)])
def test_text_behind_a_bracket_at_the_start_waits_for_the_second_section(text, seconds, start):
    spans = parse(text, section_seconds=seconds)
    assert [(span.start, span.text) for span in spans] == [(0, "a"), (start, "b")]


@pytest.mark.parametrize(("text", "expected"), BRACKETS)
def test_brackets_need_no_length_of_the_video(text, expected):
    assert starts_and_texts(text, "brackets", sections=None) == expected


@pytest.mark.parametrize(
    ("text", "syntax", "expected"),
    [
        ("a [3s: b]", "lines", [(0, "a [3s: b]")]),
        ("a | b\nc", "lines", [(0, "a | b"), (2.4, "c")]),
        ("a\nb", "bars", [(0, "a\nb")]),
        ("0:a", "sections", [(0, "a")]),
        ("a | b", "brackets", [(0, "a | b")]),
    ],
)
def test_a_chosen_syntax_beats_what_the_text_looks_like(text, syntax, expected):
    assert starts_and_texts(text, syntax) == expected


@pytest.mark.parametrize(
    ("text", "syntax"),
    [
        ("a [3s: b | c]\n0:d", "brackets"),
        ("a | b;;;1:c", "sections"),
        ("a | b\nc", "bars"),
        ("a\nb", "lines"),
        (r"a \[3s: b\]", "lines"),
        ("[3s: never closed", "brackets"),
        ("16:9", "lines"),
        ('{"0": "a [3s: b]"}', "keyframes"),
        ('{"prompts": ["a [3s: b]"]}', "script"),
        ('{"0": "prompts"}', "keyframes"),
        ('{"0": "a | b;;;c"}', "keyframes"),
        ("0s: a | b\n2s: c", "times"),
        ("{red|blue} cat", "bars"),
    ],
)
def test_detection_goes_by_the_strongest_mark(text, syntax):
    assert detect_syntax(text) == syntax


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("", 0, "empty"),
        ("  \n ", 0, "empty"),
        ("a [3s: b", 2, "never closed"),
        ("a [3s: b [soft]", 2, "never closed"),
        ("[1s: a [3s: b]]", 7, "inside another"),
        ("[1s: a [3s: b]", 7, "inside another"),
        ("[5s-3s: a]", 1, "earlier time first"),
        ("[3s-3s: a]", 1, "earlier time first"),
        ("[-1s: a]", 1, "sign"),
        ("[3: a]", 1, "no time"),
        ("[1.2.3s: a]", 1, "no time"),
        ("[1,5s: a]", 1, "no time"),
        ("[" + "9" * 400 + "s: a]", 1, "too large"),
        ("[3s text]", 0, "no colon"),
        ("[3s: ]", 4, "prompt is missing"),
        ("[3s: => state]", 4, "prompt is missing"),
        ("[3s: a =>]", 4, "state"),
        ("[3s: a => b => c]", 4, "state"),
        ("[3s~: a]", 3, "'~' is no option"),
        ("[3s~-2: a]", 3, "'~' is no option"),
        ("a [3s~2.5: b]", 5, "'.5' is no option"),
        ("a [3s~99999: b]", 5, "'~99999' is no option"),
        ("a [3s 2: b]", 5, "'2' is no option"),
        ("[3s fade: a]", 4, "'fade' is no option"),
        ("a [3s CUT: b]", 6, "'CUT' is no option"),
        ("[3s cut: a]", 0, "the first"),
        ("[0s: a] [0s cut: b]", 8, "two prompts start at 0 s"),
        ("[0s~2: a]", 0, "the first"),
        ("a [3s cut~2: b]", 6, "nothing to blend with"),
        ("a [3s cut sham: a]", 6, "nothing to blend with"),
        ("a [0s: b]", 0, "two prompts start at 0 s"),
        ("[1s: a][1s: b]", 7, "two prompts start at 1 s"),
        ("[0s-9s: a][3s-5s: b]", 10, "inside an earlier one"),
        ("[0s: a] ;;; 2: b", 8, "mixed"),
        ("[3s sham: a]", 0, "the first"),
        ("a [3s sham: b]", 2, "word for word"),
        ("a [3s: a => b]", 2, "state text differs"),
        ("0:a;;;b", 6, "names no section"),
        ("0:a;;;", 6, "names no section"),
        ("0:a;;;1:", 6, "prompt is missing"),
        ("0:a;;;3-2:b", 6, "backwards"),
        ("0:a;;;-1--3:b", 6, "backwards"),
        ("0:a;;;-5:b", 6, "before the first"),
        ("0:a;;;99999999999:b", 6, "smaller index"),
        ("a || b", 3, "prompt is missing"),
        ("a |", 3, "prompt is missing"),
        ("|", 0, "prompt is missing"),
        ("a [1200ms: b]", 3, "'1200ms' is no time"),
        ("a [50%: b]", 3, "'50%' is no time"),
        ("a [2:30: b]", 3, "no time"),
        ("a [2分: b]", 3, "'2分' is no time"),
        ("a [36フレーム: b]", 3, "'36フレーム' is no time"),
        ("a ［1s: b]", 2, "never closed; add a ］"),
        ("[1s: a 【3s: b】]", 7, "inside another"),
        ("[0s: a] [1s: b] c", 15, "text behind the last bracket gets no time"),
        ("a [0s: b] c", 0, "two prompts start at 0 s"),
        ("a (1.2s: b)", 2, "other brackets"),
        ("a（１秒：b）", 1, "other brackets"),
        ("a {36f-40f: b}", 2, "other brackets"),
        ("a | b (1.2s: c)", 6, "other brackets"),
        ("0:a;;1:b", 3, "two semicolons"),
        ("0: a\n1: b", 0, "without a unit"),
        ("0:00 a\n0:03 b", 0, "without a unit"),
        ("a [cat:dog:0.5]", 2, "edits prompts in another program"),
        ("50%: a\n80%: b", 0, "'50%' is no time"),
        ("0s: a\n0s: b", 6, "two prompts start at 0 s"),
        ("0s: a\n1s fast: b\n2s:", 20, "prompt is missing"),
        ('{"0": "a", "36": 5}', 10, "no keyframe"),
        ('{"max_f": "a"}', 2, "'max_f' is no time"),
        ('[{"frame": 0, "prompt": "a"}]', 0, "no keyframe"),
        ('{"prompt": "a"}', 2, "'prompt' is no time"),
        ('{"0": "a", "0": "b"}', 12, "two prompts start at 0 s"),
        ('{"0": ""}', 7, "prompt is missing"),
        (r'{"0": "a \q"}', 7, "no JSON string"),
        ('{"prompts": []}', 12, "no list of texts"),
        ('{"prompts": "a"}', 12, "no list of texts"),
        ('{"prompts": ["a", 5]}', 12, "no list of texts"),
        ('{"prompts": ["a", " "]}', 19, "prompt is missing"),
        ('{"prompts": ["a => b => c"]}', 14, "state text"),
        ('{"prompts": ["a",', 17, "no JSON"),
        ('{"prompts": ["a"]}\n{"prompts": ["b"]}', 19, "one a line, and a video follows one"),
        ('{"prompts": ["a"]} b', 19, "remove it"),
    ],
)
def test_an_error_names_the_place_and_a_remedy(text, position, words):
    with pytest.raises(PromptSyntaxError, match=words) as caught:
        parse(text, sections=4)
    assert caught.value.position == position
    assert caught.value.args[0].endswith(".")


def test_an_error_counts_lines_and_columns_from_one():
    with pytest.raises(PromptSyntaxError, match="line 2, column 3:"):
        parse("a man\n  [3s: b")
    with pytest.raises(PromptSyntaxError, match="line 2, column 1:"):
        parse("\n[3s: b")


def test_a_script_must_begin_with_its_prompts():
    with pytest.raises(PromptSyntaxError, match="no first key"):
        parse('{"id": 3, "prompts": ["a"]}', "script", sections=4)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.from_regex(r"[a-zé雪\"\\\n:;|]{1,9}[a-z]", fullmatch=True),
        min_size=1,
        max_size=6,
        unique_by=str.strip,
    )
)
def test_prompts_survive_the_way_through_a_script(prompts):
    spans = parse(format_script(prompts), sections=len(prompts))
    assert [span.text for span in spans] == [prompt.strip() for prompt in prompts]
    assert json.loads(format_script(prompts)) == {"prompts": prompts}


@pytest.mark.parametrize("text", ["a | b", "a\nb", "0:a;;;1:b", '{"prompts": ["a", "b"]}'])
def test_syntaxes_that_divide_the_video_ask_for_its_length(text):
    with pytest.raises(PromptSyntaxError, match="needs the length"):
        parse(text)


def test_an_unknown_syntax_is_named():
    with pytest.raises(ValueError, match="'yaml'; choose one of auto, script, keyframes"):
        parse("a", "yaml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a => b", PromptSpan(0, "a", "b")),
        ("[0s: a => b]", PromptSpan(0, "a", "b")),
        ("0:a => b;;;0:c => d", PromptSpan(0, "c", "d")),
        (r"[0s: a \=> b]", PromptSpan(0, "a => b")),
        ("[0s!: a]", PromptSpan(0, "a", forced=True)),
    ],
)
def test_options_and_state_texts_stay_with_the_prompt(text, expected):
    assert parse(text, sections=4) == [expected]


@pytest.mark.parametrize(
    ("entry", "span"),
    [
        ("[3s!: b => c]", PromptSpan(3, "b", "c", forced=True)),
        ("[3s ! : a]", PromptSpan(3, "a", forced=True)),
        ("[3s-5s!: a]", PromptSpan(3, "a", forced=True)),
        ("[3s sham: a]", PromptSpan(3, "a", sham=True)),
        ("[3s! sham: a]", PromptSpan(3, "a", forced=True, sham=True)),
        ("[3s cut: b]", PromptSpan(3, "b", cut=True)),
        ("[3s cut: a]", PromptSpan(3, "a", cut=True)),
        ("[3scut!: a => c]", PromptSpan(3, "a", "c", forced=True, cut=True)),
        ("[3s-5s  cut  cut :b]", PromptSpan(3, "b", cut=True)),
        ("[3s~2: b]", PromptSpan(3, "b", blend=2)),
        ("[3s ~ 12 ! : b]", PromptSpan(3, "b", forced=True, blend=12)),
        ("[3s~0: b]", PromptSpan(3, "b")),
    ],
)
def test_entries_keep_their_options(entry, span):
    assert parse(f"a {entry}")[1:] == [span]


def test_a_repeated_prompt_may_repeat_its_state_text():
    assert parse("a => b [3s: a => b] [4s: a]") == [PromptSpan(0, "a", "b")]


def test_a_thousand_entries_are_read():
    text = " ".join(f"[{i / 10}s: prompt {i}]" for i in range(1000))
    spans = parse(text)
    assert [(span.start, span.text) for span in spans] == [(i / 10, f"prompt {i}") for i in range(1000)]
    assert parse(format_spans(spans)) == spans


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", [p * 5_000 for p in ("\\", "[", "[1s:", "[1s: a]", "a;;;", "a|", "b\n")])
def test_long_nonsense_is_read_in_no_time(text):
    with contextlib.suppress(PromptSyntaxError):
        parse(text, sections=4)


@pytest.mark.parametrize(("text", "_"), BRACKETS + SECTIONS + TIMES + KEYFRAMES + SCRIPTS + EVENLY)
def test_text_to_spans_to_text_keeps_the_spans(text, _):
    spans = parse(text, sections=4)
    assert parse(format_spans(spans)) == spans


def test_the_canonical_text_is_plain_to_read():
    spans = parse(
        "a man => a man [3.5s!: [x] gone => an empty room] [5s sham: [x] gone] [6s~3!#7: b] [7s ! cut # 12: night]"
    )
    assert format_spans(spans).splitlines() == [
        "[0s: a man => a man]",
        r"[3.5s!: \[x\] gone => an empty room]",
        r"[5s sham: \[x\] gone]",
        "[6s!~3 #7: b]",
        "[7s! cut #12: night]",
    ]


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("a [3s #77: b]", [None, 77]),
        ("[0s #0: a] [3s!#77: b]", [0, 77]),
        ("a [3s~2#77: b] [6s cut #5: c]", [None, 77, 5]),
        ("a［３秒　＃７７：b］", [None, 77]),
        ("a [36f #77: b]", [None, 77]),
        ("0s: a\n3s #77: b", [None, 77]),
        ('{"0": "a", "90 #77": "b"}', [None, 77]),
        ("0:a;;;2-3 #77:b", [None, 77]),
        ("0#1:a;;;-1#77:b", [1, 77]),
        (f"a [3s #{LARGEST_SEED}: b]", [None, LARGEST_SEED]),
    ],
)
def test_a_prompt_may_have_the_seed_of_its_first_section(text, seeds):
    assert [span.section_seed for span in parse(text, sections=4)] == seeds


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        (f"a [3s #{LARGEST_SEED + 1}: b]", 6, "is too large; give one up to"),
        ("a [3s #" + "9" * 5000 + ": b]", 6, "is too large"),
        ("a [3s #: b]", 6, "'#' is no option; after the time only !"),
        ("a [3s #x: b]", 6, "is no option"),
        ("a [3s #77: a]", 2, "repeats the one before, so that no section is its first; add !"),
        ("0:a;;;2 #77:a", 6, "add ! to make it a switch, or give the seed to the sampler's section_seeds"),
    ],
)
def test_a_seed_that_no_section_can_have_is_refused(text, position, words):
    with pytest.raises(PromptSyntaxError, match=words) as caught:
        parse(text, sections=4)
    assert caught.value.position == position


words = st.text().map(str.strip).filter(bool)
states = st.text().map(str.strip)


@st.composite
def spans_of_a_video(draw) -> list[PromptSpan]:
    seconds = st.floats(min_value=0, exclude_min=True, allow_infinity=False, allow_nan=False)
    starts = [0.0, *sorted(draw(st.sets(seconds, max_size=5)))]
    spans: list[PromptSpan] = []
    for start in starts:
        span = PromptSpan(start, draw(words), draw(states), forced=draw(st.booleans()))
        if spans and draw(st.booleans()):
            span = replace(span, text=spans[-1].text, sham=True)
        if spans and draw(st.booleans()):
            blended = {"blend": draw(st.integers(0, 9999))}
            span = replace(span, **blended) if span.sham or draw(st.booleans()) else replace(span, cut=True)
        if draw(st.booleans()):
            span = replace(span, section_seed=draw(st.integers(0, LARGEST_SEED)))
        same = spans and span.text == spans[-1].text
        if same and not (span.sham or span.forced or span.cut):
            continue
        spans.append(span)
    return spans


@settings(max_examples=150, deadline=None)
@given(spans_of_a_video())
def test_any_spans_survive_the_way_through_text(spans):
    assert parse(format_spans(spans)) == spans


fragments = st.sampled_from(
    [
        "[",
        "]",
        "[3s:",
        "[1s-",
        "2s:",
        "!",
        " sham",
        " cut",
        "~2",
        "#7",
        "~",
        ";;;",
        "|",
        "\n",
        "=>",
        "\\",
        "-1:",
        "0:",
        "2-3:",
        ":",
        "s",
        ".",
        "9",
        "a",
        " ",
        "é",
        "🎬",
        "\u2028",
        "٣",
        "【",
        "】",
        "［3秒：",
        "36f: ",
        '"0": "',
        '{"prompts": [',
        '"]}',
        '", ',
        "(2s:",
    ]
)
texts = st.one_of(st.text(), st.lists(fragments, max_size=25).map("".join))


@settings(max_examples=400, deadline=None)
@given(texts, st.sampled_from(SYNTAX_CHOICES), st.one_of(st.none(), st.integers(1, 12)))
def test_no_text_raises_anything_but_the_parsers_own_error(text, syntax, sections):
    try:
        spans = parse(text, syntax, sections=sections)
    except PromptSyntaxError as error:
        assert 0 <= error.position <= len(text)
        return
    starts = [span.start for span in spans]
    assert starts[0] == 0 and all(a < b for a, b in pairwise(starts))
    assert all(span.text == span.text.strip() != "" for span in spans)
    assert parse(format_spans(spans)) == spans
