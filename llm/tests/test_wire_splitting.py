"""However a stream is split, the result is that of the whole."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from requests.adapters import HTTPAdapter

from llm.providers.stream import ResponseBody, SizeLimitExceeded
from llm.providers.stream.sse import EventParser, ServerSentEvent
from llm.providers.text import IncrementalSanitizer, ThinkFilter, sanitized

LINES = st.sampled_from(
    ["data: a", "data:b", "data: é🙂", "data", "data:  c", ": comment", ":", "event: e", "id: 1", "junk", ""]
)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])


@st.composite
def streams(draw):
    """Return the bytes of a stream, and the offsets at which to split them."""
    lines = draw(st.lists(st.tuples(LINES, ENDS), max_size=20))
    data = draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + "".join(a + b for a, b in lines).encode()
    cuts = draw(st.lists(st.integers(0, len(data)), max_size=10))
    return data, sorted(cuts)


def pieces_of(whole, cuts):
    return [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]


def parsed(pieces):
    parser = EventParser(1000)
    return [event for piece in pieces for event in parser.feed(piece)] + parser.close()


def by_the_standard(data):
    """Return the events as the standard defines them, line by line and in one pass."""
    text = data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    events, name, values = [], "", []
    for line in [*text.split("\n"), ""]:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            events += [ServerSentEvent(name, "\n".join(values))] if values else []
            name, values = "", []
        elif field == "data":
            values.append(value)
        elif field == "event":
            name = value
    return events


@given(streams())
def test_events_are_those_of_the_standard_wherever_the_bytes_are_cut(stream):
    data, cuts = stream
    assert parsed(pieces_of(data, cuts)) == by_the_standard(data)


def test_event_over_the_size_limit_is_refused_before_it_is_complete():
    parser = EventParser(1000)
    parser.feed(b"data: " + b"x" * 900)
    with pytest.raises(SizeLimitExceeded):
        parser.feed(b"x" * 200)


@given(st.text(st.sampled_from("a<think>/ \n"), max_size=40), st.lists(st.integers(0, 40), max_size=8))
def test_think_tags_are_separated_wherever_the_text_is_cut(text, cuts):
    def separated(pieces):
        thoughts = ThinkFilter()
        found = [thoughts.feed(piece) for piece in pieces] + [thoughts.close()]
        return "".join(thought for thought, _ in found), "".join(answer for _, answer in found)

    assert separated(pieces_of(text, sorted(min(cut, len(text)) for cut in cuts))) == separated([text])


@given(
    st.text(st.characters(categories=["Cs", "L", "Cc"]), max_size=20),
    st.lists(st.integers(0, 20), max_size=8),
)
def test_sanitized_pieces_join_to_the_sanitized_whole(text, cuts):
    sanitizer = IncrementalSanitizer()
    pieces = pieces_of(text, sorted(min(cut, len(text)) for cut in cuts))
    joined = "".join(map(sanitizer.feed, pieces)) + sanitizer.close()
    assert joined == sanitized(text)
    joined.encode()
    assert "\0" not in joined


@pytest.mark.parametrize("size", range(1, 12))
def test_chunks_are_joined_wherever_the_bytes_are_cut(size):
    body = b"3\r\nabc\r\n0A;name=value\r\n0123456789\r\n1\r\n\n\r\n0\r\nTrailer: x\r\n\r\n"
    reads = iter([body[start : start + size] for start in range(0, len(body), size)])
    source = SimpleNamespace(
        chunked=True,
        fp=SimpleNamespace(read1=lambda _: next(reads, b"")),
        isclosed=lambda: False,
        close=lambda: None,
    )
    raw = SimpleNamespace(release_conn=lambda: None)
    response = SimpleNamespace(status_code=200, headers={}, raw=raw)
    read = ResponseBody(response, source)
    assert b"".join(iter(read.read, b"")) == b"abc0123456789\n"
    assert next(reads, None) is None


@pytest.mark.parametrize("model", ["fake-large", "fault-gzip"])
def test_responses_are_read_through_a_foreign_adapter(call, provider, model):
    groq = provider("groq")
    groq.transport._session.mount("http://", HTTPAdapter())
    assert call(of=groq, model=model).completion.text.startswith("You said")
