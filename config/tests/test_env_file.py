"""`.env` as editors and people write it: read as meant, or refused by line and name."""

from __future__ import annotations

import pytest

from config.env_file import env_file_values

READ = {
    "a byte order mark": ("\ufeffPORT=4000\n", "4000"),
    "spaces around the sign": ("PORT = 4000\n", "4000"),
    "spaces at the ends": ("  PORT=4000  \n", "4000"),
    "export": ("export PORT=4000\n", "4000"),
    "Windows line ends": ("PORT=4000\r\n", "4000"),
    "no line end": ("PORT=4000", "4000"),
    "a dollar": ("PORT=$abc\n", "$abc"),
    "a dollar and braces": ("PORT=a${HOME}b\n", "a${HOME}b"),
    "a quoted dollar": ('PORT="$abc"\n', "$abc"),
    "an inline comment": ("PORT=4000 # of the server\n", "4000"),
    "a comment behind quotes": ("PORT='4 # 0'  # of the server\n", "4 # 0"),
    "a hash within a word": ("PORT=pass#word\n", "pass#word"),
    "an equals sign": ("PORT=mongodb://a/?x=y==\n", "mongodb://a/?x=y=="),
    "double quotes": ('PORT="40 00"\n', "40 00"),
    "a blank value": ("PORT=\n", ""),
    "comments and blank lines": ("# first\n\nPORT=4000\n  # last\n", "4000"),
    "letters beyond ASCII": ("PORT=gr\u00fc\u00df\n", "gr\u00fc\u00df"),
    "twice": ("PORT=1\nPORT=2\n", "2"),
}


def read(tmp_path, content: bytes) -> tuple[dict[str, str], list[str]]:
    problems: list[str] = []
    (tmp_path / ".env").write_bytes(content)
    return env_file_values(tmp_path / ".env", problems), problems


@pytest.mark.parametrize(("content", "value"), READ.values(), ids=READ)
def test_a_line_is_read_as_it_is_meant(content, value, tmp_path):
    assert read(tmp_path, content.encode()) == ({"PORT": value}, [])


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("PORT: s3cret-word", "Line 2"),
        ("s3cret-word of a person", "Line 2"),
        ("SECRET_KEY", "SECRET_KEY"),
        ("PORT='s3cret-word", "Line 2"),
        ('PORT="s3cret-word', "Line 2"),
        ("SECRET KEY=s3cret-word", "Line 2"),
    ],
)
def test_a_line_that_cannot_be_read_is_refused_by_its_number_alone(line, named, tmp_path):
    values, problems = read(tmp_path, f"HOST=::1\n{line}\nWORKERS=2\n".encode())
    assert values["HOST"] == "::1"
    assert len(problems) == 1
    assert named in problems[0]
    assert "s3cret" not in problems[0]


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_file_of_another_encoding_is_refused(encoding, tmp_path):
    _, problems = read(tmp_path, "PORT=4000 # gr\u00fc\u00df\n".encode(encoding))
    assert problems == [".env can't be read: it is not UTF-8."]


def test_a_folder_instead_of_the_file_is_refused(tmp_path):
    problems: list[str] = []
    env_file_values(tmp_path, problems)
    assert len(problems) == 1
    assert "can't be read" in problems[0]
