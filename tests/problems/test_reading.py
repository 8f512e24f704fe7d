from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rstitch_local.errors import InputError, UsageError
from rstitch_local.problems.reading import Fields, read_problems
from rstitch_local.problems.rows import LONGEST_ROW


def _write(path: Path, *rows: Any) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


# One row in the format of each of six published problem sets, with invented texts.
SHAPES: list[tuple[dict[str, Any], str, str, str | None]] = [
    (
        {
            "question": "Tom has 3 bags of 4 nuts.",
            "answer": "He has 3*4=<<3*4=12>>12 nuts.\n#### 12",
            "idx": 7,
        },
        "7",
        "Tom has 3 bags of 4 nuts.",
        "12",
    ),
    (
        {
            "problem": "Half of 3?",
            "solution": "It is $\\boxed{1.5}$.",
            "answer": "\\frac{3}{2}",
            "unique_id": "t/1.json",
        },
        "t/1.json",
        "Half of 3?",
        "\\frac{3}{2}",
    ),
    ({"id": 3, "problem": "P", "question": "Q", "answer": 27.0, "url": "u"}, "3", "Q", "27"),
    ({"id": 60, "problem": "P", "solution": "so \\boxed{25}", "answer": "025"}, "60", "P", "025"),
    (
        {
            "problem": "How far?",
            "solution": "First \\boxed{2}, then\n\\[x=\\boxed{4.5e3} \\mathrm{~m}\\]",
            "idx": 0,
        },
        "0",
        "How far?",
        "4.5e3",
    ),
    (
        {
            "id": 1606,
            "context": None,
            "question": "Which n?",
            "final_answer": ["$3$,$5$"],
            "solution": ["Long."],
            "is_multiple_answer": True,
        },
        "1606",
        "Which n?",
        "$3$,$5$",
    ),
]


@pytest.mark.parametrize(("entry", "identifier", "question", "gold"), SHAPES)
def test_usual_field_names_need_no_options(
    tmp_path: Path, entry: dict[str, Any], identifier: str, question: str, gold: str
) -> None:
    (problem,) = read_problems(_write(tmp_path / "p.jsonl", entry)).problems
    assert (problem.id, problem.question, problem.gold) == (identifier, question, gold)


def test_array_bom_and_crlf(tmp_path: Path) -> None:
    rows = [{"question": "a", "answer": 1}, {"question": "b", "answer": 2}]
    array = tmp_path / "a.json"
    array.write_bytes(b"\xef\xbb\xbf" + json.dumps(rows, indent=2).encode())
    lines = tmp_path / "l.jsonl"
    lines.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(json.dumps(r).encode() for r in rows) + b"\r\n")
    for path, unit in ((array, "row"), (lines, "line")):
        file = read_problems(path)
        assert [(p.id, p.question, p.gold) for p in file.problems] == [("1", "a", "1"), ("2", "b", "2")]
        assert file.unit == unit


def test_unicode_line_separators_do_not_end_a_line(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"question": "a\u2028b"}\n{"question": "c"}\n', encoding="utf-8")
    assert [p.question for p in read_problems(path).problems] == ["a\u2028b", "c"]


def test_ids_without_a_field_are_line_numbers(tmp_path: Path) -> None:
    path = _write(tmp_path / "p.jsonl", {"question": "a"}, "", {"question": "b"})
    assert [p.id for p in read_problems(path).problems] == ["1", "3"]


def test_the_context_is_prepended_to_the_question(tmp_path: Path) -> None:
    path = _write(tmp_path / "p.jsonl", {"question": "How many?", "context": "A box holds 5."})
    assert read_problems(path).problems[0].question == "A box holds 5.\n\nHow many?"


def test_several_gold_answers_become_one_list(tmp_path: Path) -> None:
    rows = [
        {"question": "a", "final_answer": ["$3$", "$5$"], "is_multiple_answer": True},
        {"question": "b", "final_answer": ["100,200"], "is_multiple_answer": True},
        {"question": "c", "answer": "100,200"},
    ]
    assert [p.gold for p in read_problems(_write(tmp_path / "p.jsonl", *rows)).problems] == [
        "$3$, $5$",
        "100, 200",
        "100,200",
    ]


def test_a_row_without_gold_answer_is_a_problem(tmp_path: Path) -> None:
    path = _write(tmp_path / "p.jsonl", {"question": "a"}, {"question": "b", "answer": None, "solution": "no box"})
    assert [p.gold for p in read_problems(path).problems] == [None, None]


@pytest.mark.parametrize("name", ["expected_answer", "Answer", "target", "final_answer", "label"])
def test_the_gold_answer_has_many_names(tmp_path: Path, name: str) -> None:
    file = read_problems(_write(tmp_path / "p.jsonl", {"Problem": "a", name: 7}))
    assert [p.gold for p in file.problems] == ["7"]
    assert file.gold_note == ""


def test_a_boxed_solution_comes_before_a_label(tmp_path: Path) -> None:
    rows = [
        {"question": "a", "label": 3, "solution": "so \\boxed{7}"},
        {"question": "b", "label": 3, "solution": "so 7"},
    ]
    assert [p.gold for p in read_problems(_write(tmp_path / "p.jsonl", *rows)).problems] == ["7", "3"]


def test_missing_gold_answers_are_named(tmp_path: Path) -> None:
    none = read_problems(_write(tmp_path / "p.jsonl", {"question": "a", "reply": {"final": 7}}, {"question": "b"}))
    assert "No problem has a gold answer" in none.gold_note
    assert "the fields are: question, reply.final." in none.gold_note
    assert "`--field answer=NAME`" in none.gold_note
    some = read_problems(
        _write(tmp_path / "p.jsonl", {"question": "a", "answer": 1}, {"question": "b", "answer": None})
    )
    assert some.gold_note.startswith("1 of the 2 problems have no gold answer")
    assert "line 2" in some.gold_note


def test_dots_lead_into_objects(tmp_path: Path) -> None:
    row = {"extra": {"text": "a", "final": {"value": 9}}, "extra.key": "k", "meta": {"final": 1}}
    path = _write(tmp_path / "p.jsonl", row)
    fields = Fields(question="extra.text", answer="extra.final.value", id="extra.key")
    (problem,) = read_problems(path, fields).problems
    assert (problem.id, problem.question, problem.gold) == ("k", "a", "9")
    with pytest.raises(InputError, match=r"No answer field.*extra\.text, extra\.final\.value, extra\.key, meta\.final"):
        read_problems(path, Fields(question="extra.text", answer="extra.nothing"))
    with pytest.raises(InputError, match="holds an object"):
        read_problems(path, Fields(question="extra.text", answer="extra.final"), strict=True)


def test_fields_by_name(tmp_path: Path) -> None:
    path = _write(tmp_path / "p.jsonl", {"q": "a", "key": "x", "target": "so \\boxed{9}", "id": 1})
    fields = Fields.parse(["question=q", "answer=target", "id=key"])
    (problem,) = read_problems(path, fields).problems
    assert (problem.id, problem.question, problem.gold) == ("x", "a", "9")


@pytest.mark.parametrize("option", ["question", "colour=q", "answer="])
def test_unknown_field_options_are_refused(option: str) -> None:
    with pytest.raises(UsageError, match="fields="):
        Fields.parse([option])


MALFORMED = [
    ('{"question": "a', "not JSON"),
    ("17", "not a JSON object"),
    ('{"answer": 3}', "no question field"),
    ('{"question": ""}', "no question field"),
    ('{"question": "  "}', "question is empty"),
    ('{"question": ["a"]}', "question is not a string"),
    ('{"question": "a", "id": {"b": 1}}', "id is neither"),
    ('{"question": "a", "answer": {"b": 1}}', "holds an object"),
    ('{"question": "a", "answer": NaN}', "not a finite number"),
    ('{"question": "\\ud800"}', "surrogate"),
    ('{"question": "What is \\frac{84}{2}?"}', r'a form feed where "\\frac" is meant; write "\\\\frac"'),
    ('{"question": "a", "answer": "2\\times 3"}', "gold answer has a tab"),
    ('{"question": "a", "solution": "so \\boxed{3}"}', "gold answer has a backspace"),
    ('{"question": "\\alpha"}', "a backslash is written twice"),
    ('{"question": "' + "a" * LONGEST_ROW + '"}', "4.19 MB, more than 4.19 MB"),
    ("[" * 100_000, "not JSON|nested too deeply"),
    ('{"question": "a", "answer": ' + "9" * 5000 + "}", "not JSON"),
]


@pytest.mark.parametrize(("line", "reason"), MALFORMED)
def test_a_malformed_line_is_skipped_and_reported(tmp_path: Path, line: str, reason: str) -> None:
    path = _write(tmp_path / "p.jsonl", {"question": "first", "id": "f"}, line, {"question": "last", "id": "l"})
    file = read_problems(path)
    assert [p.id for p in file.problems] == ["f", "l"]
    (bad,) = file.bad_rows
    assert bad.line == 2
    with pytest.raises(InputError, match=f"line 2: .*({reason})"):
        read_problems(path, strict=True)


def test_a_question_of_an_array_or_from_python_has_a_limit_too(tmp_path: Path) -> None:
    rows = [{"question": "a" * (LONGEST_ROW + 1)}, {"question": "b"}]
    array = tmp_path / "a.json"
    array.write_text(json.dumps(rows))
    for source in (array, rows):
        assert [(row.line, "4,194,305 characters" in row.reason) for row in read_problems(source).bad_rows] == [
            (1, True)
        ]


def test_tabs_and_line_ends_of_questions_stay(tmp_path: Path) -> None:
    question = "Name\tan age\nTom\t7\r\nnu\tau\nEve\text 8"
    assert read_problems(_write(tmp_path / "p.jsonl", {"question": question})).problems[0].question == question


def test_a_mostly_malformed_file_is_refused_before_it_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"question": "a"}\n' * 3 + "{bad\n" * 5000)
    with pytest.raises(InputError, match=r"1,000 of the first 1,003 lines .* line 4: .* line 6: .* other 4,001 lines"):
        read_problems(path)
    path.write_text('{"question": "a"}\n' * 2500 + "{bad\n" * 2000)
    assert len(read_problems(path).bad_rows) == 2000


def test_all_malformed_lines_are_counted(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 1: .* 2 more lines are malformed"):
        read_problems(_write(tmp_path / "p.jsonl", "{", "{", "{"))


def test_without_a_question_field_the_error_lists_the_fields(tmp_path: Path) -> None:
    path = _write(tmp_path / "p.jsonl", {"prompt_text": "a", "reply": "b"})
    with pytest.raises(InputError, match=r"prompt_text, reply.*fields=dict\(question="):
        read_problems(path)


def test_a_field_that_no_row_has_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "p.jsonl", {"question": "a", "answer": "b"})
    for fields in (Fields(question="q"), Fields(answer="gold"), Fields(id="key")):
        with pytest.raises(InputError, match="question, answer"):
            read_problems(path, fields)


@pytest.mark.parametrize("content", ["", "\n \n", "[]"])
def test_an_empty_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match="contains no problem"):
        read_problems(path)


def test_invalid_utf8_is_reported_with_its_position(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(b'{"question": "a"}\n{"question": "caf\xe9"}\n')
    with pytest.raises(InputError, match=r"byte 35 \(0xe9\), on line 2"):
        read_problems(path)
    path.write_bytes('{"question": "a"}'.encode("utf-16"))
    with pytest.raises(InputError, match="UTF-16"):
        read_problems(path)


def test_duplicate_ids_are_refused_with_both_lines(tmp_path: Path) -> None:
    path = _write(
        tmp_path / "p.jsonl",
        {"question": "a", "id": 1},
        {"question": "b", "id": 2},
        {"question": "c", "id": 1},
    )
    with pytest.raises(InputError, match=r"Lines 1 and 3 .*\"1\""):
        read_problems(path)


def test_a_malformed_array_is_reported_with_its_position(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text('[{"question": "a"},\n {"question" "b"}]')
    with pytest.raises(InputError, match="line 2, column 14"):
        read_problems(path)


def test_a_missing_file_or_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file"):
        read_problems(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="cannot be read"):
        read_problems(tmp_path)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero here")
def test_devices_are_refused() -> None:
    with pytest.raises(InputError, match="a device"):
        read_problems(Path("/dev/zero"))


class NumpyLike:
    """A scalar that JSON has no notation for, such as numpy.int64."""

    def __init__(self, value: object) -> None:
        self.value = value

    def item(self) -> object:
        return self.value


def test_rows_from_python() -> None:
    rows = [
        {"q": "1 + 1?", "answer": NumpyLike(2), "id": NumpyLike("a")},
        {"q": "", "answer": 3},
        {"q": "2 + 1?", "answer": 3.0},
    ]
    file = read_problems(rows, Fields.from_mapping({"question": "q"}))
    assert [(p.id, p.question, p.gold) for p in file.problems] == [("a", "1 + 1?", "2"), ("3", "2 + 1?", "3")]
    assert [(row.line, file.unit) for row in file.bad_rows] == [(2, "row")]
    with pytest.raises(InputError, match="the list of problems, row 2: "):
        read_problems(rows, Fields(question="q"), strict=True)
    with pytest.raises(InputError, match="the list of problems contains no problem"):
        read_problems([])
    with pytest.raises(InputError, match="set is not supported"):
        read_problems([{"question": {1}}])


def test_the_checksum_of_rows_depends_on_their_content_only() -> None:
    rows: list[dict[str, Any]] = [{"question": "a", "id": 1}, {"question": "b", "id": 2}]
    checksum = read_problems(rows).sha256
    assert read_problems(dict(reversed(row.items())) for row in rows).sha256 == checksum
    assert read_problems(rows[::-1]).sha256 != checksum


@pytest.mark.parametrize("names", [{"colour": "q"}, {"question": 3}])
def test_unknown_field_names_from_python_are_refused(names: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="fields="):
        Fields.from_mapping(names)
