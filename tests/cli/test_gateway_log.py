"""The gateway's logs: a line for each request without content, whatever becomes of the file."""

import dataclasses
import json
import logging
import sys

import pytest
from deepgram_sagemaker.cli.gateway_log import AccessLog, session_log


@dataclasses.dataclass
class Served:
    """As `deepgram_sagemaker.gateway.Served`."""

    id: str = "5f8e"
    path: str = "/v1/listen"
    key: str | None = "captions"
    seconds: float = 1.23456789


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_request_is_a_line_of_json(tmp_path):
    file = tmp_path / "access.log"
    log = AccessLog(str(file))
    log.write(Served())
    log.write(Served(path='/v1/"listen\n', key=None))
    log.close()
    one, other = lines(file)
    assert one["path"] == "/v1/listen"
    assert one["key"] == "captions"
    assert one["seconds"] == 1.234568
    assert one["time"].endswith("+00:00")
    assert other["path"] == '/v1/"listen\n'
    assert other["key"] is None


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be renamed there")
def test_a_renamed_file_is_opened_again_by_its_name(tmp_path):
    file = tmp_path / "access.log"
    log = AccessLog(str(file))
    log.write(Served(id="before"))
    file.rename(tmp_path / "access.log.1")
    log.write(Served(id="after"))
    log.close()
    assert [each["id"] for each in lines(tmp_path / "access.log.1")] == ["before"]
    assert [each["id"] for each in lines(file)] == ["after"]


def test_standard_output_is_a_log_too(capsys):
    AccessLog("-").write(Served())
    assert json.loads(capsys.readouterr().out)["id"] == "5f8e"


def test_without_a_log_nothing_is_written(capsys):
    log = AccessLog(None)
    log.write(Served())
    log.close()
    assert capsys.readouterr() == ("", "")


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path):
    with pytest.raises(OSError, match=r"access\.log"):
        AccessLog(str(tmp_path / "nowhere" / "access.log"))


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_a_full_disk_is_said_once(caplog):
    log = AccessLog("/dev/full")
    for _ in range(3):
        log.write(Served())
    log.close()
    said = [record for record in caplog.records if "access log" in record.message]
    assert len(said) == 1
    assert "No space left" in said[0].message


def told(capsys, form, record):
    with session_log(form):
        logging.getLogger("deepgram_sagemaker.transport").info(
            "%s: leg %d ended", "v1/listen", 0, extra=record
        )
        logging.getLogger("deepgram_sagemaker.transport").debug("not this")
    return capsys.readouterr().err


def test_the_log_of_sessions_has_the_fields_of_events(capsys):
    fields = {"deepgram_session": "00ff", "deepgram_leg": 0, "deepgram_reason": "reset"}
    text = told(capsys, "text", fields)
    assert text.endswith("INFO [00ff] v1/listen: leg 0 ended\n")
    said = json.loads(told(capsys, "json", fields))
    assert said.pop("time")
    assert said == {
        "level": "info",
        "logger": "deepgram_sagemaker.transport",
        "message": "v1/listen: leg 0 ended",
        "session": "00ff",
        "leg": 0,
        "reason": "reset",
    }


def test_the_loggers_are_as_they_were(capsys):
    logger = logging.getLogger("deepgram_sagemaker")
    before = (list(logger.handlers), logger.level, logger.propagate)
    told(capsys, "text", {})
    assert (list(logger.handlers), logger.level, logger.propagate) == before


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_exception_is_in_both_forms(capsys, form):
    with session_log(form):
        logging.getLogger("deepgram_sagemaker.gateway").error(
            "it failed", exc_info=ValueError("why")
        )
    assert "ValueError: why" in capsys.readouterr().err
