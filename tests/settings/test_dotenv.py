"""`.env`: what it says is taken exactly as written, or the start stops and names the line."""

import codecs
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.cli.application import execute
from broker.settings import SettingsError, load_settings
from broker.settings.dotenv_file import read_dotenv
from broker.settings.unknown import unknown_variables

HIDDEN = "Tr0ub4dor"
NO_ASSIGNMENT = "must be NAME=value, each quote with its closing quote"


@pytest.fixture
def dotenv(monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("ss", raising=False)
    return Path(".env")


def problems() -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert HIDDEN not in str(caught.value)
    assert caught.value.__cause__ is None
    return caught.value.problems


def reason() -> str:
    """Return why the file is refused as a whole."""
    [problem] = problems()
    assert problem.startswith(".env must be a readable file (")
    return problem.partition("(")[2].removesuffix(")")


def password() -> str:
    return load_settings().rabbitmq_password


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("RABBITMQ_PASSWORD=pa55word", "pa55word"),
        ("export RABBITMQ_PASSWORD=pa55word", "pa55word"),
        ("  RABBITMQ_PASSWORD = pa55word  ", "pa55word"),
        ("rabbitmq_password=pa55word", "pa55word"),
        ("RABBITMQ_PASSWORD=pa55word # ours", "pa55word"),
        ("RABBITMQ_PASSWORD=pa#55word", "pa#55word"),
        ("RABBITMQ_PASSWORD=#pa55word", "#pa55word"),
        ("RABBITMQ_PASSWORD=pa=55=word", "pa=55=word"),
        ("RABBITMQ_PASSWORD=pa\"55'word", "pa\"55'word"),
        ("RABBITMQ_PASSWORD=pa 55 word", "pa 55 word"),
        ("RABBITMQ_PASSWORD='pa # 55 word ' # ours", "pa # 55 word "),
        ('RABBITMQ_PASSWORD="pa # 55 word " # ours', "pa # 55 word "),
        ('RABBITMQ_PASSWORD="pa\\"55\\\\word"', 'pa"55\\word'),
        ("RABBITMQ_PASSWORD='pa\\'55\\word'", "pa'55\\word"),
        ("RABBITMQ_PASSWORD=päßwörd", "päßwörd"),
        # What is not ${NAME} is no reference.
        ("RABBITMQ_PASSWORD=pa$ss$word", "pa$ss$word"),
        ('RABBITMQ_PASSWORD="pa$ss$$word$"', "pa$ss$$word$"),
        ("RABBITMQ_PASSWORD=pa${ss", "pa${ss"),
        # Single quotes are literal, wherever they stand and whatever is set.
        ("RABBITMQ_PASSWORD='pa${ss}word'", "pa${ss}word"),
        ("export RABBITMQ_PASSWORD = 'pa${HOME}word' # ours", "pa${HOME}word"),
        ("RABBITMQ_PASSWORD='${RABBITMQ_HOST:-x}'", "${RABBITMQ_HOST:-x}"),
    ],
)
def test_a_value_is_what_is_written(line: str, value: str, dotenv: Path) -> None:
    for content in (line, f"# one\n\n{line}\n", f"RABBITMQ_VHOST=v\r\n{line}\r\nBROKER_NAME=b\r\n"):
        dotenv.write_bytes(content.encode())
        assert password() == value


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0'\\\r"), max_size=40))
def test_any_text_in_single_quotes_is_literal(text: str) -> None:
    path = Path("any.env")
    path.write_bytes(f"A='{text}'\nB=b".encode())
    assert read_dotenv(path, {"a", "b"}) == {"a": text, "b": "b"}


def test_references(dotenv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_HOST", "from-environment")
    monkeypatch.setenv("SOME_USER", "from-environment")
    dotenv.write_text(
        "SOME_USER=from-line\n"
        "EMPTY=\n"
        'RABBITMQ_HOST="${SOME_HOST}${EMPTY}.example"\n'
        "RABBITMQ_USER=${SOME_USER}\n"
        "RABBITMQ_VHOST=${NONE_SUCH:-v}\n"
        "OTHERS=${NONE_SUCH}\n"
    )
    settings = load_settings()
    assert settings.rabbitmq_host == "from-environment.example"
    assert (settings.rabbitmq_user, settings.rabbitmq_vhost) == ("from-line", "v")


@pytest.mark.parametrize("quoted", ["pa${ss}word", '"pa${ss}word"', "pa${}word"])
def test_a_reference_to_nothing_does_not_shorten_a_value(quoted: str, dotenv: Path) -> None:
    dotenv.write_text(f"# one\nRABBITMQ_PASSWORD={quoted}\n")
    [problem] = problems()
    assert problem.startswith(".env line 2 must not refer to a variable that is not set")
    assert "RABBITMQ_PASSWORD" in problem
    assert "single quotes" in problem
    assert "ss}" not in problem


def test_the_last_of_several_lines_counts(dotenv: Path) -> None:
    dotenv.write_text("RABBITMQ_PASSWORD=a\nrabbitmq_password=b\nRABBITMQ_PASSWORD=c\n")
    assert password() == "c"
    dotenv.write_text("RABBITMQ_PASSWORD=a\nRABBITMQ_PASSWORD=\n")
    assert password() == "guest"


def test_a_value_of_several_lines(dotenv: Path) -> None:
    dotenv.write_text("OTHERS_KEY='-----BEGIN\nabc=\n-----END'\nRABBITMQ_PASSWORD=x\nnone such\n")
    assert problems() == (f".env line 5 {NO_ASSIGNMENT}",)


@pytest.mark.parametrize(
    "line",
    [
        f"RABBITMQ_PASSWORD {HIDDEN}",
        f"RABBITMQ_PASSWORD: {HIDDEN}",
        f"RABBITMQ_PASSWORD:{HIDDEN}",
        f'RABBITMQ_PASSWORD="{HIDDEN}',
        f"RABBITMQ_PASSWORD='{HIDDEN}",
        f"RABBITMQ_PASSWORD='{HIDDEN}\\'",
        f'RABBITMQ_PASSWORD="{HIDDEN}" x',
        f"RABBITMQ_PASSWORD='{HIDDEN}'x",
        f'"RABBITMQ_PASSWORD"="{HIDDEN}"',
        f"set RABBITMQ_PASSWORD={HIDDEN}",
        f'$env:RABBITMQ_PASSWORD="{HIDDEN}"',
        f"\ufeffRABBITMQ_PASSWORD={HIDDEN}",  # in the middle, where files were put together
        f"\u00a0- RABBITMQ_PASSWORD={HIDDEN}",
        f"={HIDDEN}",
        f"{{{HIDDEN}}}",
        "RABBITMQ_PASSWORD",
        "export RABBITMQ_PASSWORD",
        "[broker]",
        "0RABBITMQ_PASSWORD=x",
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_line_that_cannot_be_parsed_is_named(line: str, end: str, dotenv: Path) -> None:
    lines = ["", "# one", "", "", line, "", "BROKER_NAME=b", "neither this", "BROKER_PREFETCH=0"]
    dotenv.write_bytes(end.join(lines).encode())
    assert problems() == (f".env line 5 {NO_ASSIGNMENT}", f".env line 8 {NO_ASSIGNMENT}")


@pytest.mark.parametrize("command", ["run", "config", "check", "send x", "asyncapi"])
def test_the_exit_code_is_2(command: str, dotenv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dotenv.write_text(f"RABBITMQ_PASSWORD {HIDDEN}\n")
    assert execute(command.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"broker: .env line 1 {NO_ASSIGNMENT}\n"


class TestEncoding:
    LINES = "RABBITMQ_PASSWORD=päßword\r\nBROKER_NAME=b\r\n"

    @pytest.mark.parametrize(
        "content",
        [
            LINES.encode(),
            codecs.BOM_UTF8 + LINES.encode(),
            codecs.BOM_UTF16_LE + LINES.encode("utf-16-le"),
            codecs.BOM_UTF16_BE + LINES.encode("utf-16-be"),
            LINES.replace("\r\n", "\r").encode(),
        ],
    )
    def test_understood(self, content: bytes, dotenv: Path) -> None:
        dotenv.write_bytes(content)
        settings = load_settings()
        assert (settings.rabbitmq_password, settings.broker_name) == ("päßword", "b")
        assert not list(unknown_variables())

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (b"A=a\nRABBITMQ_PASSWORD=\xff\xfe", "line 2 is not UTF-8 text"),
            (b"A=a\n\nRABBITMQ_PASSWORD=p\xe4ss", "line 3 is not UTF-8 text"),
            ("A=a\n".encode("utf-16-le"), "line 1 is not UTF-8 text: it contains zero bytes"),
            (b"A=a\nB=b\0", "line 2 is not UTF-8 text: it contains zero bytes"),
            (codecs.BOM_UTF16_LE + b"A\0\n\0B", "line 2 is not UTF-16 text"),
        ],
    )
    def test_not_understood(self, content: bytes, expected: str, dotenv: Path) -> None:
        dotenv.write_bytes(content)
        assert reason() == expected


class TestNoFile:
    def test_missing(self) -> None:
        assert password() == "guest"

    def test_the_null_device_hides_it(self, dotenv: Path) -> None:
        dotenv.symlink_to(os.devnull)
        assert password() == "guest"

    def test_a_link_to_a_file(self, dotenv: Path) -> None:
        Path("elsewhere").write_text("RABBITMQ_PASSWORD=x")
        dotenv.symlink_to("elsewhere")
        assert password() == "x"

    def test_a_directory(self, dotenv: Path) -> None:
        dotenv.mkdir()
        assert reason() == "Is a directory"

    def test_a_link_to_nothing(self, dotenv: Path) -> None:
        dotenv.symlink_to("elsewhere")
        assert reason() == "No such file or directory"

    def test_a_pipe_is_not_waited_for(self, dotenv: Path) -> None:
        os.mkfifo(dotenv)
        assert reason() == "it is a pipe or a device"

    def test_a_device(self, dotenv: Path) -> None:
        dotenv.symlink_to("/dev/zero")
        assert reason() == "it is a pipe or a device"

    def test_a_socket(self, dotenv: Path) -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(dotenv))
            assert reason() == "No such device or address"

    def test_one_that_is_too_large(self, dotenv: Path) -> None:
        with dotenv.open("wb") as file:
            file.truncate((1 << 20) + 1)
        assert reason() == "it is larger than 1048576 bytes"

    @pytest.mark.usefixtures("as_nobody")
    def test_one_that_may_not_be_read(self, dotenv: Path) -> None:
        dotenv.chmod(0)
        assert reason() == "Permission denied"

    @pytest.fixture
    def as_nobody(self, dotenv: Path) -> Iterator[None]:
        """Take the superuser's rights away, who may read everything."""
        dotenv.write_text("RABBITMQ_PASSWORD=x")
        if os.geteuid() != 0:
            yield
            return
        nobody = 65534
        os.chown(dotenv, nobody, nobody)
        dotenv.resolve().parent.chmod(stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IXOTH)
        os.seteuid(nobody)
        try:
            yield
        finally:
            os.seteuid(0)
