"""A flagfile is text with one flag a line; what else it may be is refused."""

import os

import pytest
from absl import flags

from experiments import flagfiles
from tff_cnn.core.errors import UsageError


@pytest.fixture
def defined():
    values = flags.FlagValues()
    flags.DEFINE_integer("rounds", 1, "", flag_values=values)
    flags.DEFINE_string("dp", "none", "", flag_values=values)
    flags.DEFINE_bool("resume", True, "", flag_values=values)
    return values


def texts(arguments):
    return [given.text for given in flagfiles.expand(arguments)]


def test_lines_stand_where_the_file_is_named(tmp_path):
    inner, outer = tmp_path / "inner.flags", tmp_path / "outer.flags"
    inner.write_text("// comment\n--dp=none\n")
    # A byte order mark, as an editor on Windows writes it, and its line ends.
    outer.write_bytes(
        f"\ufeff--rounds=2\r\n\r\n# no\r\n--flagfile={inner}\r\n".encode()
    )
    found = flagfiles.expand(["--a", f"--flagfile={outer}", "--b=1"])
    assert [(given.text, given.flagfile) for given in found] == [
        ("--a", None),
        ("--rounds=2", str(outer)),
        ("--dp=none", str(inner)),
        ("--b=1", None),
    ]
    assert texts(["-flagfile", str(inner)]) == ["--dp=none"]
    assert texts(["--", f"--flagfile={outer}"]) == [
        "--",
        f"--flagfile={outer}",
    ]
    # One file twice is no circle.
    assert len(texts([f"--flagfile={inner}"] * 2)) == 2


def test_named_are_those_of_the_command_line(tmp_path):
    arguments = ["--flagfile=a", "--x", "--flagfile", "b", "--", "--flagfile=c"]
    assert flagfiles.named(arguments) == ["a", "b"]


@pytest.mark.parametrize(
    "content",
    [
        "--rounds=1\n".encode("utf-16"),
        "--rounds=1\n".encode("utf-16-le"),
        "--run_dir=r\u00e9sum\u00e9\n".encode("latin-1"),
        bytes(range(256)),
        b"--run_dir=a\0b\n",
        b"#" * 2_000_000,
    ],
    ids=["utf-16", "utf-16-le", "latin-1", "binary", "null", "endless"],
)
def test_what_is_not_text(tmp_path, content):
    path = tmp_path / "x.flags"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"x\.flags is not UTF-8 text: save"):
        flagfiles.expand([f"--flagfile={path}"])


@pytest.mark.parametrize("content", ["", "\n \n", "# only\n// comments"])
def test_an_empty_one(tmp_path, content):
    path = tmp_path / "x.flags"
    path.write_text(content)
    with pytest.raises(UsageError, match="holds no flags"):
        flagfiles.expand([f"--flagfile={path}"])


def test_circles(tmp_path):
    a, b, link = (tmp_path / name for name in ("a", "b", "link"))
    a.write_text(f"--flagfile={link}\n")
    b.write_text(f"--rounds=1\n--flagfile={a}\n")
    link.symlink_to(b)
    for path in (a, b, link):
        with pytest.raises(UsageError, match="names itself, through"):
            flagfiles.expand([f"--flagfile={path}"])


def test_what_cannot_be_read(tmp_path):
    loop, pipe = tmp_path / "loop", tmp_path / "pipe"
    loop.symlink_to(loop)
    os.mkfifo(pipe)
    for path, part in (
        (tmp_path / "missing", "No such file"),
        (tmp_path, "is no file"),
        (loop, "symbolic links"),
        (pipe, "is no file"),
        ("/dev/zero", "is no file"),
        (tmp_path / ("x" * 300), "too long"),
        ("a\0b", "null"),
        ("", "names no file"),
    ):
        with pytest.raises(UsageError, match=part):
            flagfiles.expand([f"--flagfile={path}"])
    with pytest.raises(UsageError, match="names no file"):
        flagfiles.expand(["--flagfile"])


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--rounds", "1", "--flagfile={file}"], "--rounds=1 would be"),
        (["--noresume", "--flagfile={file}"], "--resume=false would be"),
        (["--noresume=1"], "--noresume=1 has a value too many"),
        (["--rounds=1", "--flagfile={file}"], "--rounds=7 stands after"),
        (["--flagfile={twice}"], "--rounds=1 would be ignored"),
    ],
)
def test_values_that_would_be_ignored(defined, tmp_path, arguments, part):
    file, twice = tmp_path / "a.flags", tmp_path / "b.flags"
    file.write_text("--rounds=7\n--resume\n")
    twice.write_text("--rounds=1\n--rounds=2\n")
    arguments = [a.format(file=file, twice=twice) for a in arguments]
    with pytest.raises(UsageError, match=part):
        flagfiles.check(flagfiles.expand(arguments), defined)


def test_values_that_count(defined, tmp_path):
    file, other = tmp_path / "a.flags", tmp_path / "b.flags"
    file.write_text("--rounds=7\n--dp=x\n")
    other.write_text("--rounds=8\n")
    for arguments in (
        [f"--flagfile={file}", "--rounds=2"],
        [f"--flagfile={file}", f"--flagfile={other}"],
        ["--rounds=7", f"--flagfile={file}"],
        ["--rounds=1", "--rounds=2"],
        ["--rounds=1", f"--flagfile={file}", "--rounds=2"],
        ["--resume", "--noresume"],
        ["--rounds=1", "--rounds=1", "--resume=true", "--resume"],
        ["--dp", "--rounds", "--rounds=2", "stray", "--unknown", "--x=1"],
        ["--rounds=1", "--", "--rounds=2"],
        ["--rounds"],
    ):
        flagfiles.check(flagfiles.expand(arguments), defined)
