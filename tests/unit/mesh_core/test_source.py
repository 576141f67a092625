"""YAML with line numbers, and what is not YAML."""

import pytest

from mesh_core.model.source import MAX_DEPTH, read, read_path


def test_every_path_has_its_line():
    (first, second), problems = read("kind: A\nspec:\n  tables:\n    - name: x\n    - {name: y}\n---\nkind: B\n", "f.yaml")
    assert problems == []
    assert first.value == {"kind": "A", "spec": {"tables": [{"name": "x"}, {"name": "y"}]}}
    assert [first.line_of(path) for path in ("kind", "spec", "spec.tables[0].name", "spec.tables[1]", "spec.tables[1].name")] == [1, 2, 4, 5, 5]
    assert second.line_of("kind") == 7


def test_a_path_that_was_not_written_has_the_line_of_what_is_around_it():
    (document,), _ = read("spec:\n  pool:\n    size: 1\n", "f.yaml")
    assert document.line_of("spec.pool.mode") == 2
    assert document.line_of("spec.shards[3].name") == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1\nb: 2\n", "f.yaml:2: is not YAML"),
        ("a: 1\na: 2\n", "f.yaml:2: a: is given twice"),
        ("a: !!python/object:os.system {}\n", "is not plain YAML"),
        ("{[1, 2]: 3}\n", "has a key that is not a word"),
    ],
)
def test_what_cannot_be_said_in_json_is_refused(text, said):
    documents, problems = read(text, "f.yaml")
    assert said in "\n".join(map(str, problems)) or documents[0].value == {"a": {}}


def test_a_small_text_cannot_become_a_large_value():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 8)]
    _, (problem,) = read("\n".join(lines), "f.yaml")
    assert "expands to too much" in problem.reason


def test_nesting_is_bounded():
    _, (problem,) = read("[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2), "f.yaml")
    assert "nested too deep" in problem.reason


def test_words_stay_what_was_written():
    """YAML 1.1 would make a date, two booleans, and numbers of base 60 and 8 of these."""
    (document,), _ = read("[2024-01-01, no, on, 22:22, 010, .inf, true, 12, -3, 1.5, ~]\n", "f.yaml")
    assert document.value == ["2024-01-01", "no", "on", "22:22", "010", ".inf", True, 12, -3, 1.5, None]


def test_a_folder_is_read_in_the_order_of_names(tmp_path):
    (tmp_path / "b.yaml").write_text("n: 2\n")
    (tmp_path / "a.yml").write_text("n: 1\n")
    (tmp_path / "notes.txt").write_text("n: 3\n")
    documents, problems = read_path(tmp_path)
    assert ([document.value["n"] for document in documents], problems) == ([1, 2], [])


def test_what_cannot_be_read_is_said(tmp_path):
    assert "holds no .yaml file" in str(read_path(tmp_path)[1][0])
    assert "cannot be read" in str(read_path(tmp_path / "missing.yaml")[1][0])
