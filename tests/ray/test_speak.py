"""`speak` on Ray: a file and a row for each text."""

import wave

import pytest
from deepgram_sagemaker.local import LocalEndpoint
from deepgram_sagemaker.ray import OutputError, speak

TEXTS = [
    {"id": "greetings/one", "text": "Good morning to everyone."},
    {"id": "two b#", "text": "And good night."},
    {"id": "three", "text": "  "},
]


def call(endpoint, output, texts=TEXTS, *, query=None, **options):
    return speak(
        texts,
        config=endpoint.config(boto3_session=None),
        query=query or {"model": "aura-2-thalia-en"},
        output=output,
        streams=2,
        workers=1,
        **options,
    )


@pytest.mark.parametrize("flux", [False, True])
def test_each_text_has_its_file_and_its_row(cluster, tmp_path, flux):
    output = tmp_path / "out"
    query = {"model": "flux-alexis-en" if flux else "aura-2-thalia-en"}
    with LocalEndpoint() as endpoint:
        rows = {row["id"]: row for row in call(endpoint, output, query=query, flux=flux).take_all()}
        assert {leg.path for leg in endpoint.legs} == {"v2/speak" if flux else "v1/speak"}
        assert endpoint.stats.opens == 2
        if not flux:
            with pytest.raises(OutputError, match="begun with query="):
                call(endpoint, output, query={"model": "aura-2-apollo-en"})
            # The same call does what is missing, and here that is nothing.
            again = call(endpoint, output, retry_failed=False).take_all()
            assert {row["id"]: row for row in again} == rows
            assert endpoint.stats.opens == 2
    assert rows["three"]["error"]["message"] == "there is no text to speak"
    for each in TEXTS[:2]:
        row = rows[each["id"]]
        assert row["error"] is None
        assert row["path"] == str(output / "audio" / f"{each['id']}.wav")
        with wave.open(row["path"]) as file:
            assert file.getnframes() / file.getframerate() == pytest.approx(row["seconds"])
        assert row["seconds"] > 0
        assert (row["characters"], row["attempts"]) == (len(each["text"]), 1)
    assert len(list((output / "rows").glob("part-*.parquet"))) == 1


@pytest.mark.parametrize("name", ["", "/a", "a/../b", "a//b", ".a", "a\\b", "a\0"])
def test_ids_are_names_of_files(tmp_path, name):
    with LocalEndpoint() as endpoint, pytest.raises(ValueError, match="must be a file's name"):
        call(endpoint, tmp_path, [{"id": name, "text": "a"}])


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        (["hello"], TypeError, "a row with `id` and `text`, not 'hello'"),
        ([{"id": "a"}], TypeError, "a row with `id` and `text`"),
        ([{"id": "a", "text": 5}], TypeError, "id='a': its text must be text, not 5"),
        ([{"id": "a", "text": "\ud800"}], ValueError, "id='a': its text is not Unicode"),
    ],
)
def test_texts_are_rows_of_text(tmp_path, texts, error, message):
    with LocalEndpoint() as endpoint, pytest.raises(error, match=message):
        call(endpoint, tmp_path, texts)


def test_texts_have_ids_of_their_own(tmp_path):
    texts = [{"id": "a", "text": "one"}, {"id": "a", "text": "two"}]
    with LocalEndpoint() as endpoint, pytest.raises(ValueError, match="two texts have the id 'a'"):
        call(endpoint, tmp_path, texts)
