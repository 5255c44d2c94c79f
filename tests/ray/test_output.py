"""What an output knows of earlier runs, wherever these were stopped."""

import json

import pyarrow as pa
import pytest
from deepgram_sagemaker.ray import OutputError, output
from deepgram_sagemaker.ray.output import Output, Results
from deepgram_sagemaker.ray.places import Places
from deepgram_sagemaker.ray.rows import TRANSCRIPTS, as_table, read_rows

ODD = 'a "b"\u2028\u0085\n.wav'
ERROR = {"type": "AudioError", "message": "it has no audio"}


def done(name, text="all of it"):
    words = [{"word": "all", "start": 0.0, "end": 0.1}]
    return {"path": name, "channel": 0, "text": text, "words": words, "attempts": 1}


def failed(name):
    return {"path": name, "attempts": 3, "error": ERROR}


class Folder:
    """An output and its runs."""

    def __init__(self, path, form):
        self.path = path
        self.output = Output(Places().place(path), TRANSCRIPTS, form)
        path.mkdir()

    def run(self, *, retry_failed=True, query="q"):
        results = Results(self.output, {"query": query}, retry_failed=retry_failed)
        results.begin()
        return results

    def rows(self, pattern="part-*"):
        """All rows of the files, by name."""
        places = [
            self.output.place.below(str(p.relative_to(self.path))) for p in self.files(pattern)
        ]
        tables = [read_rows(each, TRANSCRIPTS, self.output.form) for each in places]
        rows = [row for table in tables for row in table.to_pylist()]
        names = [row["path"] for row in rows]
        assert len(set(names)) == len(names)
        return {row["path"]: row for row in rows}

    def files(self, pattern):
        return sorted(self.path.glob(pattern))


@pytest.fixture(params=["parquet", "jsonl"])
def folder(request, tmp_path):
    return Folder(tmp_path / "out", request.param)


def table(*rows):
    return as_table(rows, TRANSCRIPTS)


def test_rows_stay_as_they_are(folder):
    results = folder.run()
    results.add(table(done(ODD), done("b") | {"channel": 0}, done("b") | {"channel": 1}))
    results.finish()
    kept = pa.concat_tables(
        [
            read_rows(folder.output.place.below(each.name), TRANSCRIPTS, folder.output.form)
            for each in folder.files("part-*")
        ]
    )
    assert (
        kept.sort_by("channel").to_pylist()
        == table(done(ODD), done("b"), done("b") | {"channel": 1}).to_pylist()
    )
    assert folder.run().is_done(ODD)


def test_a_run_that_was_killed_has_what_workers_finished(folder):
    folder.run()
    folder.output.finish("a", "run 1", [done("a")])
    folder.output.finish(ODD, "run 1", [done(ODD)])
    folder.output.finish("bad", "run 1", [failed("bad")])
    # The machine stopped while this was written.
    broken = folder.output.progress("c")
    (folder.path / "_progress" / broken.path.rpartition("/")[2]).write_text('{"name": "c", "ro')
    odd = '{"name": "d", "run": "1", "rows": [{"path": 5}]}'
    (folder.path / "_progress" / "d.json").write_text(odd)
    (folder.path / "_progress" / ".e.json.77.1.part").write_text("{")
    results = folder.run()
    assert [results.is_done(name) for name in ("a", ODD, "bad", "c")] == [True, True, False, False]
    assert folder.run(retry_failed=False).is_done("bad")
    results.add(table(done("bad"), done("c")))
    results.finish()
    assert folder.rows().keys() == {"a", ODD, "bad", "c"}
    assert folder.files("_errors/*") == folder.files("_progress/*") == []
    assert not list((folder.path / "_progress").iterdir())


@pytest.mark.parametrize("content", [b"{", b"", b"[]", b'"x"', b"\xff"])
def test_a_manifest_that_says_nothing_is_named(folder, content):
    folder.run()
    (folder.path / "_batch.json").write_bytes(content)
    with pytest.raises(OutputError, match=r"_batch\.json cannot be read"):
        folder.run()


def test_a_driver_that_was_killed_after_a_part_leaves_nothing_twice(folder, monkeypatch):
    first = folder.run()
    first.add(table(failed("x")))
    first.finish()
    assert folder.rows("_errors/*").keys() == {"x"}

    second = folder.run()
    folder.output.finish("a", "run 2", [done("a")])
    folder.output.finish("x", "run 2", [done("x")])

    def killed(_files):
        raise KeyboardInterrupt

    second.add(table(done("a"), done("x")))
    with monkeypatch.context() as patch:
        patch.setattr(output, "_remove", killed)
        with pytest.raises(KeyboardInterrupt):
            second.finish()
    assert folder.rows().keys() == {"a", "x"}
    assert len(folder.files("_progress/*")) == 2

    third = folder.run(retry_failed=False)
    assert third.is_done("a")
    assert third.is_done("x")
    assert folder.files("_progress/*") == []
    # Rows that a worker handed over twice.
    third.add(table(done("a", "again"), done("b")))
    third.finish()
    assert folder.rows().keys() == {"a", "b", "x"}
    assert folder.rows()["a"]["text"] == "all of it"
    assert folder.files("_errors/*") == []


def test_what_failed_is_kept_until_it_succeeds(folder):
    results = folder.run()
    results.add(table(failed("a"), failed("b"), done("c")))
    results.finish()
    results = folder.run()
    # This call is about `a` alone.
    results.add(table(done("a")))
    results.finish()
    assert folder.rows("_errors/*").keys() == {"b"}
    assert folder.rows().keys() == {"a", "c"}


def test_parts_have_a_size(folder, monkeypatch):
    monkeypatch.setattr(output, "_PART_NAMES", 10)
    results = folder.run()
    for number in range(25):
        folder.output.finish(str(number), "run", [done(str(number))])
        results.add(table(done(str(number))))
    assert len(folder.files("part-*")) == 2
    assert len(folder.files("_progress/*")) == 5
    results.finish()
    assert len(folder.files("part-*")) == 3
    assert len(folder.rows()) == 25


def test_another_batch_and_other_files_are_refused(folder, tmp_path):
    folder.run()
    with pytest.raises(OutputError, match="begun with query='q', and this call has query='other'"):
        folder.run(query="other")
    (folder.path / f"part-0.{folder.output.form}").write_text("{no part")
    with pytest.raises(OutputError, match=r"cannot be read .* if you remove it, its recordings"):
        folder.run()
    other = Folder(tmp_path / "other", folder.output.form)
    (other.path / "mine.txt").touch()
    with pytest.raises(OutputError, match=r"has other files, such as .*mine\.txt"):
        other.run()
    assert json.loads((folder.path / "_batch.json").read_text())["query"] == "q"
