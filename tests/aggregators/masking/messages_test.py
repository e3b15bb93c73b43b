import pytest

from tff_cnn.aggregators.masking import messages
from tff_cnn.aggregators.masking.messages import Phase, Transcript


def test_tables_come_back():
    rows = {7: b"abc", 2**32 - 1: b"def"}
    sent = messages.table(rows)
    assert len(sent) == 2 * (4 + 3)
    assert messages.rows_of(sent, 3) == rows
    assert messages.rows_of(b"", 3) == {}
    assert messages.ids_of(messages.ids([3, 1])) == {1, 3}
    for two in (({1: b"x"}, {2: b"y", 3: b"z"}), ({}, {2: b"y"}), ({}, {})):
        assert messages.rows_of_two(messages.two_tables(*two), 1) == two


def test_what_is_no_table_is_refused():
    with pytest.raises(ValueError, match="8 bytes are no rows of 7"):
        messages.rows_of(b"12345678", 3)


@pytest.mark.parametrize("keeps", [False, True])
def test_a_transcript_counts_bytes_by_client(keeps):
    transcript = Transcript(keeps)
    phase = Phase.SHARE_KEYS
    assert transcript.sent_up(phase, 5, b"abc") == b"abc"
    transcript.sent_up(phase, 5, b"d")
    transcript.sent_down(phase, 6, b"ef")
    assert (transcript.bytes_up, transcript.bytes_down) == ({5: 4}, {6: 2})
    kept = [(m.client, m.is_up, m.content) for m in transcript.messages]
    expected = [(5, True, b"abc"), (5, True, b"d"), (6, False, b"ef")]
    assert kept == (expected if keeps else [])
