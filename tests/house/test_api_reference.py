"""docs/api.md says what the service is."""

from api_reference import PAGE, reference


def test_the_reference_is_that_of_the_code():
    assert PAGE.read_text() == reference(), "run `make reference`"
