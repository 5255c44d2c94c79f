"""The settings in a query, and queries that are refused before any audio."""

import pytest
from deepgram_sagemaker.local.audio import AudioFormat, Encoding
from deepgram_sagemaker.local.speech.request import ListenRequest, RequestError


def parse(**query):
    return ListenRequest.parse({key: [value] for key, value in query.items()})


def test_an_empty_query_means_a_wav_file_and_the_service_s_defaults():
    assert ListenRequest.parse({}) == ListenRequest(
        model="nova-3",
        audio=None,
        multichannel=False,
        interim_results=False,
        punctuated=False,
        endpointing_us=10_000,
        utterance_end_us=None,
        vad_events=False,
    )


def test_everything_that_is_understood_is_read():
    request = parse(
        model="nova-2-phonecall",
        encoding="linear16",
        sample_rate="44100",
        channels="2",
        multichannel="true",
        interim_results="true",
        smart_format="true",
        endpointing="300",
        utterance_end_ms="1500",
        vad_events="true",
    )
    assert request == ListenRequest(
        model="nova-2-phonecall",
        audio=AudioFormat(Encoding.LINEAR16, 44_100, 2),
        multichannel=True,
        interim_results=True,
        punctuated=True,
        endpointing_us=300_000,
        utterance_end_us=1_500_000,
        vad_events=True,
    )


def test_what_is_not_known_is_ignored_as_the_service_does():
    assert parse(keyterm="SageMaker", diarize="sometimes", version="latest") == parse()


def test_the_last_of_repeated_values_counts():
    assert ListenRequest.parse({"model": ["nova-2", "nova-3"]}).model == "nova-3"


@pytest.mark.parametrize("encoding", ["mulaw", "alaw"])
def test_telephone_encodings_have_a_rate_of_their_own(encoding):
    assert parse(encoding=encoding).audio == AudioFormat(Encoding(encoding), 8_000, 1)


@pytest.mark.parametrize(("value", "expected"), [("false", None), ("true", 10_000), ("0", 0)])
def test_endpointing_is_off_on_or_a_number(value, expected):
    assert parse(endpointing=value).endpointing_us == expected


def test_utterance_ends_need_interim_results():
    assert parse(utterance_end_ms="1000").utterance_end_us is None
    assert parse(utterance_end_ms="1000", interim_results="true").utterance_end_us == 1_000_000


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"encoding": "opus"}, "encoding=opus: this model takes linear16"),
        ({"encoding": "linear16"}, "needs a sample_rate"),
        ({"encoding": "linear16", "sample_rate": "16k"}, "sample_rate=16k: must be a whole number"),
        ({"encoding": "linear16", "sample_rate": "7999"}, "sample_rate=7999: must be from 8000"),
        ({"encoding": "mulaw", "channels": "0"}, "channels=0: must be from 1 to 20"),
        ({"encoding": "mulaw", "channels": "21"}, "channels=21"),
        ({"interim_results": "yes"}, "interim_results=yes: must be true or false"),
        ({"endpointing": "-5"}, "endpointing=-5: must be a whole number"),
        ({"utterance_end_ms": "999"}, "utterance_end_ms=999: must be at least 1000"),
    ],
)
def test_a_malformed_value_is_refused_with_its_name_and_rule(query, reason):
    with pytest.raises(RequestError, match=reason):
        parse(**query)
