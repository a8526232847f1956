"""The author of the bench's documents, against a real publisher."""

import pytest

from loadtest.author import publish_all
from loadtest.errors import MeasureError
from loadtest.program import make_document
from loadtest.stage import Stage

SEED = 7


async def test_a_document_that_is_there_is_not_new(stage: Stage) -> None:
    """Publishing a program for the first time twice is an error that shows the publisher's answer."""
    document = make_document(0, SEED)
    async with stage.make_author() as author:
        body = author.sign(document)
        with pytest.raises(MeasureError, match=r"expected 200 for document 2021000000000001, got 412 .*conflict"):
            await author.put(document["program"], body, is_new=True)
        await author.put(document["program"], body, is_new=False)


async def test_one_failure_ends_the_publishing(stage: Stage) -> None:
    """Of many documents one that is refused is the error that the caller sees."""
    documents = [make_document(number, SEED) for number in range(3)]
    with pytest.raises(MeasureError, match="expected 200 for document"):
        await publish_all(stage.make_author(), documents)
