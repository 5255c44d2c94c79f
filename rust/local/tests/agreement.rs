//! Client and endpoint read queries, WAV headers and watermarks alike.
//!
//! The tables are in `tests/vectors`; Python's readers are held against the same tables.

use bytes::Bytes;
use dgsm_local::audio::{Clock, Format};
use dgsm_local::query::Query;
use dgsm_local::watermark::{Reader, mark};
use dgsm_session::resume::audio::Audio;
use dgsm_session::resume::query;
use serde::Deserialize;
use serde_json::Value;

fn latin1(text: &str) -> Vec<u8> {
    text.chars()
        .map(|char| u8::try_from(u32::from(char)).unwrap())
        .collect()
}

#[derive(Deserialize)]
struct QueryCase {
    query: String,
    pairs: Vec<(String, String)>,
    values: serde_json::Map<String, Value>,
}

#[test]
fn queries() {
    let table = include_str!("../../../tests/vectors/query.json");
    let cases: Vec<QueryCase> = serde_json::from_str(table).unwrap();
    for case in cases {
        let parsed = Query::parse(&case.query);
        assert_eq!(parsed.pairs(), case.pairs, "{}", case.query);
        for (key, value) in &case.values {
            let expected = value.as_str();
            assert_eq!(parsed.get(key), expected, "the endpoint: {}", case.query);
            let read = query::value(&case.query, key);
            assert_eq!(read.as_deref(), expected, "the session: {}", case.query);
        }
    }
}

#[derive(Deserialize)]
struct WavCase {
    name: String,
    head: String,
    /// The length in bytes.
    audio: usize,
    after: String,
    format: Option<WavFormat>,
    /// Bytes of whole frames that count as audio.
    heard: u64,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
struct WavFormat {
    rate: u32,
    channels: u16,
    width: u16,
    silence: u8,
}

#[test]
fn wav_files() {
    let table = include_str!("../../../tests/vectors/wav.json");
    let cases: Vec<WavCase> = serde_json::from_str(table).unwrap();
    for case in cases {
        let mut file = latin1(&case.head);
        file.extend(vec![7; case.audio]);
        file.extend(latin1(&case.after));
        for size in [1, 7, 4096] {
            let place = format!("{} in pieces of {size}", case.name);
            let mut session = Audio::from_query("");
            let mut endpoint = Clock::new(&Query::default());
            for piece in file.chunks(size) {
                session.feed(piece);
                endpoint.audio(Bytes::copy_from_slice(piece));
            }
            let layout = session.layout().map(|layout| WavFormat {
                rate: layout.rate,
                channels: layout.channels,
                width: layout.sample_bytes,
                silence: layout.silence,
            });
            assert_eq!(layout, case.format, "the session: {place}");
            let format = endpoint.format();
            let known = (format != Format::OTHER).then_some(WavFormat {
                rate: format.rate,
                channels: format.channels,
                width: format.width,
                silence: format.silence,
            });
            assert_eq!(known, case.format, "the endpoint: {place}");
            if let Some(layout) = session.layout() {
                let blocks = session.blocks_before(file.len() as u64);
                let heard = blocks * layout.block_bytes();
                assert_eq!(heard, case.heard, "the session: {place}");
                let heard = endpoint.frames() * format.frame() as u64;
                assert_eq!(heard, case.heard, "the endpoint: {place}");
            }
        }
    }
}

/// One piece of a case's audio: bytes of a chunk, or one byte repeated.
#[derive(Deserialize)]
#[serde(untagged)]
enum Piece {
    Chunk {
        chunk: u32,
        size: usize,
        #[serde(default)]
        from: usize,
        to: Option<usize>,
    },
    Fill {
        fill: u8,
        size: usize,
    },
}

#[derive(Deserialize)]
struct MarksCase {
    name: String,
    audio: Vec<Piece>,
    /// Number, start and end in bytes of each chunk that is heard to its end.
    marks: Vec<(u32, u64, u64)>,
    /// Numbers of the chunks with a hole. Readers may differ in where these start.
    #[serde(default)]
    torn: Vec<u32>,
}

#[test]
fn watermarks() {
    let table = include_str!("../../../tests/vectors/marks.json");
    let cases: Vec<MarksCase> = serde_json::from_str(table).unwrap();
    for case in cases {
        let mut audio = Vec::new();
        for piece in &case.audio {
            match *piece {
                Piece::Chunk {
                    chunk,
                    size,
                    from,
                    to,
                } => {
                    let bytes = mark(chunk, size, Format::OTHER).unwrap();
                    audio.extend(&bytes[from..to.unwrap_or(size)]);
                }
                Piece::Fill { fill, size } => audio.extend(vec![fill; size]),
            }
        }
        for size in [1, 7, 640, audio.len()] {
            let (mut reader, mut marks, mut torn) =
                (Reader::new(Format::OTHER), Vec::new(), Vec::new());
            for piece in audio.chunks(size) {
                reader.read(piece, |mark| {
                    if mark.intact {
                        marks.push((mark.number, mark.start, mark.end));
                    } else {
                        torn.push(mark.number);
                    }
                });
            }
            let intact: Vec<_> = case
                .marks
                .iter()
                .filter(|(number, ..)| !case.torn.contains(number))
                .copied()
                .collect();
            assert_eq!(marks, intact, "{} in pieces of {size}", case.name);
            assert_eq!(torn, case.torn, "{} in pieces of {size}", case.name);
        }
    }
}
