"""Aura and Flux TTS on the local endpoint, as an application on Deepgram's SDK meets them."""

import asyncio

import pytest
from deepgram.speak.v1.types import SpeakV1Text
from deepgram.speak.v2.types import SpeakV2Speak
from deepgram_sagemaker.local import Fault, LocalEndpoint
from deepgram_sagemaker.local.audio import WavDecoder
from deepgram_sagemaker.local.faults import OnMessage, Split
from deepgram_sagemaker.local.speech import SpeechModel
from deepgram_sagemaker.local.speech.sample import word_error_rate
from deepgram_sagemaker.local.speech.voice import ToneVoice, espeak
from deepgram_sagemaker.local.watermark_aura import WatermarkAura, numbers_in
from local.streams import serve
from sessions import Heard, client_of

TEXT = (
    "Please send the invoice to the office in New York before Friday morning. "
    "Thank you for calling."
)


def audio_of(messages):
    return b"".join(message for message in messages if isinstance(message, bytes))


def told(messages, kind):
    return [message for message in messages if getattr(message, "type", None) == kind]


async def aura(client, *texts, **options):
    heard = Heard()
    async with client.speak.v1.connect(model="aura-2-thalia-en", **options) as connection:
        heard.attach(connection)
        listening = asyncio.create_task(connection.start_listening())
        for text in texts:
            await connection.send_text(SpeakV1Text(text=text))
            await connection.send_flush()
        await connection.send_close()
        await listening
    assert heard.errors == []
    return heard.messages


async def flux(client, *texts, **options):
    heard = Heard()
    async with client.speak.v2.connect(model="flux-haley-en", **options) as connection:
        heard.attach(connection)
        listening = asyncio.create_task(connection.start_listening())
        for text in texts:
            await connection.send_speak(SpeakV2Speak(text=text))
            await connection.send_flush()
        await connection.send_close()
        await listening
    assert heard.errors == []
    return heard.messages


async def test_counted_words_through_the_sdk():
    # Messages in parts: harmless, and shows that faults find their place by the messages.
    fault = Fault(Split(100), when=OnMessage("Flush"))
    async with LocalEndpoint(model=WatermarkAura(), faults=[fault]) as endpoint:
        client = client_of(endpoint.config())
        messages = await aura(client, "0 1 2", "3 4")
        (leg,) = endpoint.legs
    assert numbers_in(audio_of(messages)) == [0, 1, 2, 3, 4]
    assert [message.sequence_id for message in told(messages, "Flushed")] == [0, 1]
    assert told(messages, "Metadata")[0].model_name == "aura-2-thalia-en"
    assert (leg.path, leg.end) == ("v1/speak", "model")
    assert leg.controls == ("Speak", "Flush", "Speak", "Flush", "Close")
    assert leg.faults == ("split",)


async def test_counted_turns_through_the_sdk():
    async with LocalEndpoint(model=WatermarkAura()) as endpoint:
        client = client_of(endpoint.config())
        messages = await flux(client, "0 1 2", "3 4", encoding="mulaw", sample_rate="8000")
    audio = audio_of(messages)
    assert numbers_in(audio) == [0, 1, 2, 3, 4]
    assert len(audio) == 5 * 800
    assert [message.audio_duration_ms for message in told(messages, "SpeechMetadata")] == [300, 200]
    assert told(messages, "SessionMetadata")[0].total_audio_duration_ms == 500


@pytest.mark.patience(60)
async def test_speech_through_the_sdk():
    async with LocalEndpoint(model=SpeechModel(lambda _: "")) as endpoint:
        client = client_of(endpoint.config())
        first = await aura(client, TEXT, encoding="linear16", sample_rate="16000")
        second = await flux(client, TEXT, encoding="linear16", sample_rate="16000")
    assert len(told(first, "Flushed")) == 1
    # Nineteen words take three to twelve seconds, with any voice.
    assert 3 * 32_000 < len(audio_of(first)) < 12 * 32_000
    assert audio_of(first) == audio_of(second)
    (metadata,) = told(second, "SpeechMetadata")
    assert metadata.audio_duration_ms == len(audio_of(second)) // 32
    assert metadata.input_character_count == len(TEXT)


async def test_a_wav_file_comes_out():
    said = [{"type": "Speak", "text": "Hello."}, {"type": "Flush"}, {"type": "Close"}]
    query = {"container": "wav", "sample_rate": "8000"}
    model = SpeechModel(lambda _: "", voices=ToneVoice)
    stream = await serve(model, "v1/speak", said, query=query)
    decoder = WavDecoder()
    samples = decoder.decode(stream.audio)
    assert decoder.format.sample_rate == 8_000
    # Five letters' tone, and the pause of a full stop.
    assert len(samples) / 8_000 == pytest.approx(6 * 0.065 + 0.25, abs=0.001)


async def test_a_voice_that_breaks_fails_the_stream():
    class Broken(ToneVoice):
        def __call__(self, text, speed, /):
            raise RuntimeError("no voice")

    said = [{"type": "Speak", "text": "Hello."}, {"type": "Flush"}]
    with pytest.raises(RuntimeError, match="no voice"):
        await serve(SpeechModel(lambda _: "", voices=Broken), "v1/speak", said)


@pytest.mark.skipif(espeak() is None, reason="this machine has no espeak-ng")
@pytest.mark.patience(180)
async def test_what_aura_says_nova_understands():
    async with LocalEndpoint(model="speech") as endpoint:
        client = client_of(endpoint.config())
        spoken = audio_of(await aura(client, TEXT, encoding="linear16", sample_rate="16000"))
        heard = Heard()
        query = {"model": "nova-3", "encoding": "linear16", "sample_rate": 16000}
        async with client.listen.v1.connect(**query) as connection:
            heard.attach(connection)
            listening = asyncio.create_task(connection.start_listening())
            for start in range(0, len(spoken), 3_200):
                await connection.send_media(spoken[start : start + 3_200])
            await connection.send_close_stream()
            await listening
    text = " ".join(final.channel.alternatives[0].transcript for final in heard.finals)
    assert word_error_rate(TEXT, text) <= 0.15
