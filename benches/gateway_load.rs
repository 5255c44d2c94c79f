//! Many live streams against a gateway, over WebSocket as Deepgram's clients: each with chunks at the
//! pace of speech. Every chunk has a number, and the numbers have to come back once and in order.
//!
//! ```text
//! gateway_load URL STREAMS CHUNKS AUDIO TAG PID OUT
//! ```
//! URL has everything up to `tag=`; AUDIO is a file of numbered chunks; PID is the process whose CPU
//! and memory are measured; OUT gets the figures as JSON, in the form of `streams/driver.py`.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{Barrier, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Bytes of a chunk: 20 ms of 16 kHz linear16.
const CHUNK: usize = 640;
/// From one chunk to the next.
const PERIOD: Duration = Duration::from_millis(20);
/// Chunks that a stream sends before it counts as open.
const OPENING: usize = 10;
/// Handshakes at a time.
const AT_ONCE: usize = 50;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(240);

/// What keeps the streams together.
struct Together {
    /// All streams, and what measures, go from one phase to the next here.
    phases: Barrier,
    handshakes: Semaphore,
}

/// What one stream has seen.
#[derive(Default)]
struct Seen {
    /// When each chunk was sent.
    sent: Vec<u64>,
    /// From a chunk that ends a result to the result.
    answers: Vec<u64>,
    /// When the first result came.
    first: Option<u64>,
    /// The number that has to come next.
    next: usize,
    exact: bool,
    close: Option<u16>,
}

/// Returns nanoseconds on the machine's monotonic clock, which other processes share.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let (seconds, nanos) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
    seconds * 1_000_000_000 + nanos
}

/// Returns the CPU seconds, user and system, and the resident bytes of a process.
fn usage(process: &str) -> Result<(f64, f64, u64), Failure> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .ok_or("a process has a name")?
        .1
        .split_whitespace()
        .collect();
    // Hundredths of a second, on every Linux.
    let ticks = |at: usize| fields[at].parse::<f64>().map(|ticks| ticks / 100.0);
    let pages: u64 = fs::read_to_string(format!("/proc/{process}/statm"))?
        .split_whitespace()
        .nth(1)
        .ok_or("a process has pages")?
        .parse()?;
    Ok((ticks(11)?, ticks(12)?, pages * 4096))
}

impl Seen {
    fn hear(&mut self, text: &str) -> Result<(), Failure> {
        let at = now();
        let message: Value = serde_json::from_str(text)?;
        if message["type"] != "Results" {
            return Ok(());
        }
        self.first.get_or_insert(at);
        let words = message["channel"]["alternatives"][0]["transcript"]
            .as_str()
            .ok_or("a result has a transcript")?;
        for word in words.split_whitespace() {
            self.exact &= word.parse() == Ok(self.next);
            self.next += 1;
        }
        self.answers.push(at - self.sent[self.next - 1]);
        Ok(())
    }
}

async fn one(
    url: String,
    audio: Bytes,
    chunks: usize,
    place: Duration,
    together: Arc<Together>,
) -> Result<Seen, Failure> {
    let mut seen = Seen {
        exact: true,
        ..Seen::default()
    };
    let admitted = together.handshakes.acquire().await?;
    let address = url.split('/').nth(2).ok_or("the URL has an address")?;
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    let small = WebSocketConfig::default().read_buffer_size(4 << 10);
    let (mut socket, _) = client_async_with_config(&url, tcp, Some(small)).await?;
    drop(admitted);
    talk(&mut socket, &mut seen, &audio, OPENING, place).await?;
    together.phases.wait().await;
    together.phases.wait().await;
    talk(&mut socket, &mut seen, &audio, chunks, place).await?;
    together.phases.wait().await;
    together.phases.wait().await;
    socket
        .send(Message::text(r#"{"type":"CloseStream"}"#))
        .await?;
    while let Some(message) = socket.next().await {
        match message? {
            Message::Text(text) => seen.hear(&text)?,
            Message::Close(close) => seen.close = close.map(|close| close.code.into()),
            _ => {}
        }
    }
    Ok(seen)
}

/// Sends further chunks, one a period, and listens until all of them have come back.
async fn talk(
    socket: &mut WebSocketStream<TcpStream>,
    seen: &mut Seen,
    audio: &Bytes,
    chunks: usize,
    place: Duration,
) -> Result<(), Failure> {
    let (begun, from) = (Instant::now() + place, seen.sent.len());
    let end = from + chunks;
    while seen.next < end {
        let at = seen.sent.len();
        let due = begun + PERIOD * (at - from) as u32;
        tokio::select! {
            () = sleep_until(due), if at < end => {
                seen.sent.push(now());
                socket.send(Message::binary(audio.slice(at * CHUNK..(at + 1) * CHUNK))).await?;
            }
            message = socket.next() => match message.ok_or("the gateway has hung up")?? {
                Message::Text(text) => seen.hear(&text)?,
                Message::Close(close) => return Err(format!("closed: {close:?}").into()),
                _ => {}
            },
        }
    }
    Ok(())
}

fn difference(after: (f64, f64, u64), before: (f64, f64, u64), wall: Duration) -> Value {
    let (user, system) = (after.0 - before.0, after.1 - before.1);
    json!({"user": user, "system": system, "cpu": user + system, "wall": wall.as_secs_f64()})
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, streams, chunks, audio, tag, process, out] = arguments
        .try_into()
        .map_err(|_| "URL STREAMS CHUNKS AUDIO TAG PID OUT")?;
    let (streams, chunks) = (streams.parse::<usize>()?, chunks.parse::<usize>()?);
    let audio = Bytes::from(fs::read(audio)?);
    let together = Arc::new(Together {
        phases: Barrier::new(streams + 1),
        handshakes: Semaphore::new(AT_ONCE),
    });
    let idle = usage(&process)?;
    let (began, start) = (now(), Instant::now());
    let tasks: Vec<_> = (0..streams)
        .map(|stream| {
            // Spread over the period, and results over their windows.
            let place = PERIOD * (stream * OPENING) as u32 / streams as u32;
            let url = format!("{url}{tag}-{stream}");
            tokio::spawn(one(
                url,
                audio.clone(),
                chunks,
                place,
                Arc::clone(&together),
            ))
        })
        .collect();
    let measured = timeout(PATIENCE, async {
        together.phases.wait().await;
        let (opened, opening) = (usage(&process)?, start.elapsed());
        let start = Instant::now();
        together.phases.wait().await;
        together.phases.wait().await;
        let (done, steady) = (usage(&process)?, start.elapsed());
        together.phases.wait().await;
        Ok::<_, Failure>((opened, opening, done, steady, Instant::now()))
    });
    let (opened, opening, done, steady, closing) = match measured.await {
        Ok(measured) => measured?,
        Err(late) => {
            // A stream that has failed is missed at the next barrier: it says why.
            for task in tasks {
                if task.is_finished() {
                    task.await??;
                }
            }
            return Err(late.into());
        }
    };
    let mut seen = Vec::with_capacity(streams);
    for task in tasks {
        seen.push(timeout(PATIENCE, task).await???);
    }
    let closed = usage(&process)?;
    let whole = |each: &Seen| each.exact && each.next == OPENING + chunks;
    let sent: BTreeMap<String, &Vec<u64>> = seen
        .iter()
        .enumerate()
        .map(|(stream, each)| (format!("{tag}-{stream}"), &each.sent))
        .collect();
    let figures = json!({
        "client": "gateway",
        "streams": streams,
        "chunks": chunks,
        "failed": seen.iter().filter(|each| each.close != Some(1000)).count(),
        "failures": [],
        "inexact": seen.iter().filter(|each| !whole(each)).count(),
        "began": began,
        "first_results": seen.iter().filter_map(|each| Some(each.first? - began)).collect::<Vec<_>>(),
        "opening": difference(opened, idle, opening),
        "steady": difference(done, opened, steady),
        "closing": difference(closed, done, closing.elapsed()),
        "answers": seen.iter().flat_map(|each| each.answers.iter().skip(1)).collect::<Vec<_>>(),
        "ideal": (PERIOD * chunks as u32).as_secs_f64(),
        "resident": opened.2 - idle.2,
        "sent": sent,
    });
    fs::write(out, figures.to_string())?;
    Ok(())
}
