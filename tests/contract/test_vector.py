"""How vectors are read."""

import pytest

from contract.vector import Json, encode_body, list_files, load_vectors


def test_reads_every_file_in_order() -> None:
    """Each file is a rule, and each of its vectors has an id of its own."""
    vectors = load_vectors()
    ids = [vector.id for vector in vectors]
    assert len(set(ids)) == len(ids)
    assert list(dict.fromkeys(vector.rule for vector in vectors)) == [path.stem for path in list_files()]
    assert "version/two_three_one_equals_two_three_one_zero" in ids


def test_a_vector_has_an_answer_or_a_code() -> None:
    """What is answered has status 200 and no code, what is refused has a code and another status."""
    for vector in load_vectors():
        assert (vector.answer is None) == bool(vector.code) == (vector.status != 200)


@pytest.mark.parametrize(
    ("entry", "body"),
    [
        ({"question": {"city": "杭州市"}}, '{"city": "杭州市"}'.encode()),
        ({"question_raw": "{"}, b"{"),
        ({"question_raw": ["[", {"repeat": "ab", "times": 2}, {"hex": "ff00"}, "]"]}, b"[abab\xff\x00]"),
    ],
    ids=["question", "text", "parts"],
)
def test_encodes_a_body(entry: Json, body: bytes) -> None:
    """A question is JSON in UTF-8; raw parts are texts, repeated texts and bytes in hex."""
    assert encode_body(entry) == body


def test_the_last_of_two_members_counts() -> None:
    """The question of a body with a member twice has the last."""
    vector = next(vector for vector in load_vectors() if vector.name == "a_member_twice_the_last_counts")
    assert vector.question["workspace"] == "demo"
