//! The pump of a leg.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use dgsm_leg::end::LegEnd;
use dgsm_leg::frame::Frame;
use dgsm_session::{PushError, Settings, Step};
use dgsm_wire::payload_part::{Completion, DataType, PayloadPart, encode_exception};
use h2::Reason;
use h2::server::Builder;
use tokio::sync::{Notify, mpsc};

use crate::client::{Conversation, HANG, eventually, open, soon};
use crate::peer::{
    DATA, END_HEADERS, END_STREAM, Event, Events, HEADERS, Peer, STREAM, accept, accepted, event,
    frame, goaway, reset, text,
};
use dgsm_net::failure::FailureKind;

/// A peer that sends this, in these pieces, and ends.
async fn says(pieces: Vec<Bytes>) -> Peer {
    Peer::h2(Builder::new(), move |request, mut respond| {
        let pieces = pieces.clone();
        async move {
            let mut send = accept(&mut respond);
            for piece in pieces {
                send.send_data(piece, false).unwrap();
            }
            send.send_data(Bytes::new(), true).unwrap();
            let _ = Events::new(request.into_body()).next().await;
        }
    })
    .await
}

/// Returns what a session reads from a peer that sends this, and how it ends.
async fn heard(pieces: Vec<Bytes>) -> (Vec<Frame>, LegEnd) {
    let peer = says(pieces).await;
    let conversation = Conversation::over(&peer.pool()).await;
    conversation.finish();
    let mut messages = Vec::new();
    while let Some(message) = conversation.message().await {
        messages.push(message);
    }
    (messages, conversation.end().await)
}

#[tokio::test]
async fn there_and_back() {
    let peer = Peer::h2(Builder::new(), |request, mut respond| async move {
        let mut send = accept(&mut respond);
        let mut events = Events::new(request.into_body());
        while let Event::Part(part) = events.next().await {
            let mut out = BytesMut::new();
            part.encode(&mut out).unwrap();
            send.send_data(out.freeze(), false).unwrap();
        }
        assert_eq!(events.next().await, Event::Closed);
        send.send_data(Bytes::new(), true).unwrap();
    })
    .await;
    let conversation = Conversation::over(&peer.pool()).await;
    let frames = [
        Frame::from("{\"type\":\"KeepAlive\"}".to_owned()),
        Frame::Binary(Bytes::from(vec![7; 640])),
        Frame::from(String::new()),
    ];
    for frame in &frames {
        conversation.push(frame.clone()).unwrap();
        assert_eq!(conversation.message().await.as_ref(), Some(frame));
    }
    conversation.finish();
    assert_eq!(conversation.end().await, LegEnd::Clean);
    eventually("the connection's end", || peer.live() == 0).await;
}

/// A chunk is one DATA frame; chunks that wait are written together.
#[tokio::test]
async fn a_write_a_chunk() {
    let (told, mut counts) = mpsc::unbounded_channel();
    let peer = Peer::h2(Builder::new(), move |request, mut respond| {
        let told = told.clone();
        async move {
            let _send = accept(&mut respond);
            let mut events = Events::new(request.into_body());
            while let Event::Part(part) = events.next().await {
                told.send((part.data[0], events.data_frames)).unwrap();
            }
        }
    })
    .await;
    let conversation = Conversation::new();
    for number in 0..30 {
        conversation.send(vec![number; 640]).await;
    }
    conversation.go_on(&peer.pool()).await;
    for number in 0..30 {
        let (first, data_frames) = soon(counts.recv()).await.unwrap();
        assert_eq!(first, number);
        // 18 of these fill a frame of 16 KiB.
        assert_eq!(data_frames, if number < 18 { 1 } else { 2 });
    }
    for number in 30..40 {
        conversation.send(vec![number; 640]).await;
        let (_, data_frames) = soon(counts.recv()).await.unwrap();
        assert_eq!(data_frames, usize::from(number - 30) + 3);
    }
}

#[tokio::test]
async fn the_peer_speaks_first() {
    let (messages, end) = heard(vec![text("welcome")]).await;
    assert_eq!(messages, [Frame::from("welcome".to_owned())]);
    assert_eq!(end, LegEnd::Clean);
}

#[tokio::test]
async fn a_message_in_parts_and_the_parts_in_pieces() {
    let mut wire = BytesMut::new();
    for (data, completion) in [
        ("one ", Completion::Partial),
        ("", Completion::Partial),
        ("message", Completion::Complete),
    ] {
        PayloadPart {
            data: Bytes::from(data),
            data_type: Some(DataType::Utf8),
            completion,
        }
        .encode(&mut wire)
        .unwrap();
    }
    wire.put(event(&Frame::Binary(Bytes::from(vec![1; 50_000]))));
    let wire = wire.freeze();
    for size in [1, 7, 1000, wire.len()] {
        let pieces = wire[..400.min(wire.len())]
            .chunks(size)
            .chain([&wire[400..]])
            .map(Bytes::copy_from_slice)
            .collect();
        let (messages, end) = heard(pieces).await;
        assert_eq!(
            messages,
            [
                Frame::from("one message".to_owned()),
                Frame::Binary(Bytes::from(vec![1; 50_000]))
            ]
        );
        assert_eq!(end, LegEnd::Clean);
    }
}

fn protocol(end: LegEnd) -> String {
    match end {
        LegEnd::Protocol { detail } => detail,
        other => panic!("{other:?}"),
    }
}

/// Messages that were whole before the break are delivered.
#[tokio::test]
async fn streams_that_break_the_format() {
    let whole = text("whole");
    let mut wrong_crc = BytesMut::from(&whole[..]);
    let last = wrong_crc.len() - 1;
    wrong_crc[last] ^= 1;
    let mut oversized = BytesMut::new();
    oversized.put_u32(64 << 20);
    oversized.put_u32(0);
    oversized.put_u32(crc(&oversized));
    let mut unfinished = BytesMut::new();
    PayloadPart {
        data: Bytes::from("half a mes"),
        data_type: Some(DataType::Utf8),
        completion: Completion::Partial,
    }
    .encode(&mut unfinished)
    .unwrap();
    let mut not_utf8 = BytesMut::new();
    PayloadPart {
        data: Bytes::from(vec![0xff, 0xfe]),
        data_type: Some(DataType::Utf8),
        completion: Completion::Complete,
    }
    .encode(&mut not_utf8)
    .unwrap();
    for (broken, says) in [
        (whole.slice(..whole.len() - 3), "short of a message"),
        (wrong_crc.freeze(), "CRC"),
        (oversized.freeze(), "larger than the limit"),
        (Bytes::from_static(b"<html>502 Bad Gateway</html>"), "CRC"),
        (unfinished.freeze(), "unfinished"),
        (not_utf8.freeze(), "UTF-8"),
    ] {
        let (messages, end) = heard(vec![whole.clone(), broken]).await;
        assert_eq!(messages, [Frame::from("whole".to_owned())]);
        let detail = protocol(end);
        assert!(detail.contains(says), "{detail:?} is not about {says:?}");
    }
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[tokio::test]
async fn unknown_events_are_noted_and_skipped() {
    let mut pieces = Vec::new();
    for name in ["Weather", "Weather", "Tide"] {
        let headers = [(":message-type", "event"), (":event-type", name)].map(|(name, value)| {
            dgsm_wire::eventstream::Header {
                name,
                value: dgsm_wire::eventstream::HeaderValue::String(value),
            }
        });
        let mut out = BytesMut::new();
        dgsm_wire::eventstream::encode(&headers, b"", &mut out).unwrap();
        pieces.push(out.freeze());
    }
    pieces.push(text("known"));
    let peer = says(pieces).await;
    let conversation = Conversation::over(&peer.pool()).await;
    assert_eq!(
        conversation.message().await,
        Some(Frame::from("known".to_owned()))
    );
    let skipped = conversation.shared.take_skipped();
    let names: Vec<_> = skipped.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["Weather", "Tide"]);
    assert!(conversation.shared.take_skipped().is_empty());
    conversation.abort();
}

#[tokio::test]
async fn failures_in_band() {
    for (kind, code, expected) in [
        (
            "ModelStreamError",
            Some("1011"),
            LegEnd::Closed {
                code: "1011".into(),
                text: "why".into(),
            },
        ),
        (
            "InternalStreamFailure",
            None,
            LegEnd::Failed { text: "why".into() },
        ),
        (
            "Surprise",
            None,
            LegEnd::Refused {
                reason: dgsm_leg::reason::Reason::UnknownException,
                name: "Surprise".into(),
                text: "why".into(),
            },
        ),
    ] {
        let mut out = BytesMut::from(&text("before")[..]);
        encode_exception(kind, code, "why", &mut out).unwrap();
        out.put(text("after"));
        let (messages, end) = heard(vec![out.freeze()]).await;
        assert_eq!(messages, [Frame::from("before".to_owned())]);
        assert_eq!(end, expected);
    }
}

/// A peer whose window is tiny, and that reads only on request.
async fn tight(go: Arc<Notify>, told: mpsc::UnboundedSender<Event>) -> Peer {
    let mut builder = Builder::new();
    builder.initial_window_size(1000);
    Peer::h2(builder, move |request, mut respond| {
        let (go, told) = (Arc::clone(&go), told.clone());
        async move {
            let mut send = accept(&mut respond);
            let mut events = Events::new(request.into_body());
            tokio::select! {
                () = go.notified() => {}
                // It may give up first.
                reset = std::future::poll_fn(|cx| send.poll_reset(cx)) => {
                    told.send(Event::Broken(reset.ok())).unwrap();
                    return;
                }
            }
            loop {
                let event = events.next().await;
                let over = !matches!(event, Event::Part(_));
                let _ = told.send(event);
                if over {
                    break;
                }
            }
            let _ = send.send_data(Bytes::new(), true);
        }
    })
    .await
}

#[tokio::test]
async fn a_peer_that_does_not_read_makes_the_application_wait() {
    let go = Arc::new(Notify::new());
    let (told, mut events) = mpsc::unbounded_channel();
    let peer = tight(Arc::clone(&go), told).await;
    // All 8 MiB go out after the last `send`, a window of 1000 bytes at a time: on a slow machine,
    // or under wine, longer than a session usually has to end.
    let patient = Settings {
        close_timeout: 4 * HANG,
        ..Settings::default()
    };
    let conversation = Conversation::with(patient, "v9/echo", "");
    conversation.go_on(&peer.pool()).await;
    let chunk = |number: u32| {
        let mut chunk = vec![0; 3200];
        chunk[..4].copy_from_slice(&number.to_be_bytes());
        Frame::Binary(Bytes::from(chunk))
    };
    // 8 MiB that were not sent, and what is on its way.
    let mut sent = 0;
    let blocked = Instant::now();
    while blocked.elapsed() < Duration::from_secs(20) {
        match conversation.push(chunk(sent)) {
            Ok(()) => sent += 1,
            Err(PushError::Full) => break,
            Err(other) => panic!("{other}"),
        }
    }
    let bytes = u64::from(sent) * 3200;
    assert!((8 << 20..9 << 20).contains(&bytes), "{bytes}");
    go.notify_one();
    let more = async {
        for number in sent..sent + 100 {
            conversation.send(chunk(number).bytes().clone()).await;
        }
        conversation.finish();
    };
    let all = async {
        for number in 0..sent + 100 {
            let Some(Event::Part(part)) = soon(events.recv()).await else {
                panic!("no part {number}");
            };
            assert_eq!(part.data[..4], number.to_be_bytes());
        }
        assert_eq!(soon(events.recv()).await, Some(Event::End));
    };
    tokio::join!(more, all);
    assert_eq!(conversation.end().await, LegEnd::Clean);
}

#[tokio::test]
async fn aborting_does_not_wait_for_credit() {
    let (told, mut events) = mpsc::unbounded_channel();
    let peer = tight(Arc::default(), told).await;
    let conversation = Conversation::over(&peer.pool()).await;
    conversation.send(vec![0; 100_000]).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let began = Instant::now();
    conversation.abort();
    assert_eq!(
        soon(events.recv()).await,
        Some(Event::Broken(Some(Reason::CANCEL)))
    );
    assert!(began.elapsed() < Duration::from_secs(1));
    eventually("the connection's end", || peer.live() == 0).await;
}

/// The session's clock runs on while the peer gives no credit.
#[tokio::test]
async fn closing_does_not_wait_for_credit_either() {
    let (told, mut events) = mpsc::unbounded_channel();
    let peer = tight(Arc::default(), told).await;
    let settings = Settings {
        close_timeout: Duration::from_millis(300),
        ..Settings::default()
    };
    let conversation = Conversation::with(settings, "v9/echo", "");
    conversation.go_on(&peer.pool()).await;
    conversation.send(vec![0; 100_000]).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    conversation.finish();
    let began = Instant::now();
    assert_eq!(conversation.end().await, LegEnd::Clean);
    crate::client::assert_on_time(
        began.elapsed() + Duration::from_millis(20),
        Duration::from_millis(300),
    );
    assert_eq!(
        soon(events.recv()).await,
        Some(Event::Broken(Some(Reason::CANCEL)))
    );
}

/// A leg that the session has given up is gone, and so is its permit, though its peer gives no
/// credit for what is on its way.
#[tokio::test]
async fn a_leg_left_behind_does_not_wait_for_credit() {
    let (told, mut events) = mpsc::unbounded_channel();
    let peer = tight(Arc::default(), told).await;
    let pool = peer.pool_with(|limits| {
        limits.max_concurrency = 1;
        limits.acquire_timeout = Duration::from_secs(5);
    });
    let settings = Settings {
        stall_timeout: Some(Duration::from_millis(200)),
        ..Settings::default()
    };
    let query = "encoding=linear16&sample_rate=16000";
    let conversation = Conversation::with(settings, "v1/listen", query);
    conversation.go_on(&pool).await;
    let wants_another = async {
        loop {
            conversation.send(vec![0; 10_000]).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
            let now = conversation.shared.now();
            let step = conversation.shared.lock().step(now);
            if step
                == (Step::Open {
                    standby: false,
                    renew: false,
                })
            {
                break;
            }
        }
    };
    soon(wants_another).await;
    assert_eq!(
        soon(events.recv()).await,
        Some(Event::Broken(Some(Reason::CANCEL)))
    );
    open(&pool).await.expect("the permit of the first");
}

/// With unread messages the peer has to wait, and aborting ends the wait.
#[tokio::test]
async fn an_application_that_does_not_read_makes_the_peer_wait() {
    let (told, mut totals) = mpsc::unbounded_channel();
    let peer = Peer::h2(Builder::new(), move |_request, mut respond| {
        let told = told.clone();
        async move {
            let mut send = accept(&mut respond);
            let message = event(&Frame::Binary(Bytes::from(vec![0; 32_000])));
            let mut rest = Bytes::new();
            let mut total = 0;
            loop {
                if rest.is_empty() {
                    rest = message.clone();
                }
                send.reserve_capacity(rest.len());
                match std::future::poll_fn(|cx| send.poll_capacity(cx)).await {
                    Some(Ok(room)) => {
                        let part = rest.split_to(room.min(rest.len()));
                        total += part.len();
                        told.send(total).unwrap();
                        send.send_data(part, false).unwrap();
                    }
                    _ => return,
                }
            }
        }
    })
    .await;
    let settings = Settings {
        max_unread_bytes: 100_000,
        ..Settings::default()
    };
    let conversation = Conversation::with(settings, "v9/echo", "");
    conversation.go_on(&peer.pool()).await;
    let mut total = 0;
    // Until it stalls.
    while let Ok(Some(now)) = tokio::time::timeout(Duration::from_secs(1), totals.recv()).await {
        total = now;
    }
    // The limit, a window, and the message that crossed the limit.
    assert!((100_000..1_300_000).contains(&total), "{total}");
    for _ in 0..100 {
        assert_eq!(conversation.message().await.unwrap().len(), 32_000);
    }
    conversation.abort();
    eventually("the connection's end", || peer.live() == 0).await;
}

/// The input ends after the service's side, with the signed empty event.
#[tokio::test]
async fn the_input_ends_after_the_output() {
    let (told, mut ends) = mpsc::unbounded_channel();
    let peer = Peer::h2(Builder::new(), move |request, mut respond| {
        let told = told.clone();
        async move {
            let mut send = accept(&mut respond);
            let mut events = Events::new(request.into_body());
            events.payload().await;
            send.send_data(text("answer"), true).unwrap();
            told.send((events.next().await, events.next().await))
                .unwrap();
        }
    })
    .await;
    let conversation = Conversation::over(&peer.pool()).await;
    conversation.send(vec![0; 640]).await;
    while conversation.message().await.is_some() {}
    assert_eq!(soon(ends.recv()).await, Some((Event::End, Event::Closed)));
    eventually("the connection's end", || peer.live() == 0).await;
}

/// The service ends while a write waits for credit that will not come: the leg is reset.
#[tokio::test]
async fn the_output_ends_while_the_input_waits() {
    let (told, mut ends) = mpsc::unbounded_channel();
    let mut builder = Builder::new();
    builder.initial_window_size(1000);
    let peer = Peer::h2(builder, move |request, mut respond| {
        let told = told.clone();
        async move {
            let mut send = accept(&mut respond);
            tokio::time::sleep(Duration::from_millis(100)).await;
            send.send_data(Bytes::new(), true).unwrap();
            let reset = std::future::poll_fn(|cx| send.poll_reset(cx)).await;
            told.send(reset.ok()).unwrap();
            drop(request);
        }
    })
    .await;
    let conversation = Conversation::over(&peer.pool()).await;
    conversation.send(vec![0; 100_000]).await;
    assert_eq!(conversation.end().await, LegEnd::Clean);
    let reset = tokio::time::timeout(Duration::from_secs(5), ends.recv()).await;
    assert_eq!(reset.unwrap(), Some(Some(Reason::CANCEL)));
    eventually("the connection's end", || peer.live() == 0).await;
}

/// A GOAWAY that still covers the stream: the session wants a second leg, over a connection of its
/// own, while the first works on.
#[tokio::test]
async fn a_leg_whose_connection_goes_away_is_followed() {
    let peer = Peer::raw(|mut raw| async move {
        raw.accept().await;
        while raw.read().await.unwrap().0 != DATA {}
        raw.write(&[goaway(STREAM, 0)]).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        raw.write(&[frame(DATA, 0, STREAM, &text("{\"type\":\"News\"}"))])
            .await;
        raw.drain().await;
    })
    .await;
    let pool = peer.pool();
    let query = "encoding=linear16&sample_rate=16000";
    let conversation = Conversation::with(Settings::default(), "v1/listen", query);
    conversation.go_on(&pool).await;
    conversation.send(vec![0; 640]).await;
    eventually("the wish for a second leg", || {
        let now = conversation.shared.now();
        conversation.shared.lock().step(now)
            == Step::Open {
                standby: true,
                renew: false,
            }
    })
    .await;
    assert!(conversation.message().await.is_some(), "it works on");
    assert_eq!(peer.accepted(), 1);
    conversation.abort();
    eventually("the connection's end", || peer.live() == 0).await;
}

/// Sends the same without end, as credit allows; reports how much was sent.
async fn floods(message: Bytes, told: mpsc::UnboundedSender<usize>) -> Peer {
    Peer::h2(Builder::new(), move |_request, mut respond| {
        let (told, message) = (told.clone(), message.clone());
        async move {
            let mut send = accept(&mut respond);
            let mut rest = Bytes::new();
            let mut total = 0;
            loop {
                if rest.is_empty() {
                    rest = message.clone();
                }
                send.reserve_capacity(rest.len());
                let Some(Ok(room)) = std::future::poll_fn(|cx| send.poll_capacity(cx)).await else {
                    return;
                };
                let part = rest.split_to(room.min(rest.len()));
                total += part.len();
                let _ = told.send(total);
                if send.send_data(part, false).is_err() {
                    return;
                }
            }
        }
    })
    .await
}

/// Messages take room beside their content: empty ones count too.
#[tokio::test]
async fn messages_without_content_make_the_peer_wait() {
    let (told, mut totals) = mpsc::unbounded_channel();
    let peer = floods(text("").repeat(100).into(), told).await;
    let settings = Settings {
        max_unread_bytes: 100_000,
        ..Settings::default()
    };
    let conversation = Conversation::with(settings, "v9/echo", "");
    conversation.go_on(&peer.pool()).await;
    let mut total = 0;
    // Until it stalls.
    while let Ok(Some(now)) = tokio::time::timeout(Duration::from_secs(1), totals.recv()).await {
        total = now;
    }
    // Those that fit into the limit are less than 400, and a window lies before them.
    assert!((1 << 20..1_300_000).contains(&total), "{total}");
    for _ in 0..20_000 {
        assert_eq!(conversation.message().await, Some(Frame::from("")));
    }
    conversation.abort();
    eventually("the connection's end", || peer.live() == 0).await;
}

/// Input that is not read is taken out of h2: a service may cut it into any pieces, and end.
#[tokio::test]
async fn small_pieces_that_nobody_reads_are_kept_in_order() {
    // Few enough small frames that h2 sees no attack in them, also when all come at once.
    let numbers = || (0..500).map(|number| number.to_string());
    let peer = Peer::h2(Builder::new(), move |_request, mut respond| async move {
        let mut send = accept(&mut respond);
        for (count, number) in numbers().enumerate() {
            for piece in text(&number).chunks(50) {
                send.send_data(Bytes::copy_from_slice(piece), false)
                    .unwrap();
            }
            if count % 50 == 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        send.send_data(Bytes::new(), true).unwrap();
        let _ = std::future::poll_fn(|cx| send.poll_reset(cx)).await;
    })
    .await;
    let settings = Settings {
        max_unread_bytes: 1000,
        ..Settings::default()
    };
    let conversation = Conversation::with(settings, "v9/echo", "");
    conversation.go_on(&peer.pool()).await;
    conversation.finish();
    tokio::time::sleep(Duration::from_millis(500)).await;
    for number in numbers() {
        assert_eq!(conversation.message().await, Some(Frame::from(number)));
    }
    assert_eq!(conversation.end().await, LegEnd::Clean);
}

fn unknown(name: &str) -> Bytes {
    let headers = [(":message-type", "event"), (":event-type", name)].map(|(name, value)| {
        dgsm_wire::eventstream::Header {
            name,
            value: dgsm_wire::eventstream::HeaderValue::String(value),
        }
    });
    let mut out = BytesMut::new();
    dgsm_wire::eventstream::encode(&headers, b"", &mut out).unwrap();
    out.freeze()
}

fn part_of_nothing() -> Bytes {
    let part = PayloadPart {
        data: Bytes::new(),
        data_type: Some(DataType::Utf8),
        completion: Completion::Partial,
    };
    let mut out = BytesMut::new();
    part.encode(&mut out).unwrap();
    out.freeze()
}

/// A service that sends events and never a message is stopped.
#[tokio::test]
async fn events_without_a_message_are_counted() {
    for event in [unknown("Weather"), part_of_nothing()] {
        let (told, _totals) = mpsc::unbounded_channel();
        let peer = floods(event.repeat(100).into(), told).await;
        let conversation = Conversation::over(&peer.pool()).await;
        let detail = protocol(conversation.end().await);
        assert!(detail.contains("brought no message"), "{detail}");
    }
    // A message in between starts the count again.
    let mut pieces = Vec::new();
    for _ in 0..3 {
        pieces.push(unknown("Weather").repeat(30_000).into());
        pieces.push(text("news"));
    }
    let (messages, end) = heard(pieces).await;
    assert_eq!((messages.len(), end), (3, LegEnd::Clean));
}

#[tokio::test]
async fn events_have_limits() {
    let padded = |names: usize, length: usize| {
        let padding = "p".repeat(length);
        let mut headers = vec![(":message-type", "event"), (":event-type", "PayloadPart")];
        let names: Vec<String> = (0..names).map(|number| format!("P{number}")).collect();
        headers.extend(names.iter().map(|name| (name.as_str(), padding.as_str())));
        let headers: Vec<_> = headers
            .into_iter()
            .map(|(name, value)| dgsm_wire::eventstream::Header {
                name,
                value: dgsm_wire::eventstream::HeaderValue::String(value),
            })
            .collect();
        let mut out = BytesMut::new();
        dgsm_wire::eventstream::encode(&headers, b"x", &mut out).unwrap();
        out.freeze()
    };
    let (messages, end) = heard(vec![padded(1, 16_000), padded(100, 10)]).await;
    assert_eq!((messages.len(), end), (2, LegEnd::Clean));
    for (event, says) in [
        (padded(1, 17_000), "larger than the limit"),
        (padded(200, 10), "128 headers"),
    ] {
        let (messages, end) = heard(vec![event]).await;
        let detail = protocol(end);
        assert!(messages.is_empty() && detail.contains(says), "{detail}");
    }
}

/// The log has a bound, whatever names a service makes up.
#[tokio::test]
async fn names_of_unknown_events_do_not_fill_the_log() {
    let names = (0..100).map(|number| unknown(&format!("{number}{}", "é".repeat(1000))));
    let peer = says(names.chain([text("known")]).collect()).await;
    let conversation = Conversation::over(&peer.pool()).await;
    conversation.message().await.unwrap();
    let names = conversation.shared.take_skipped();
    assert_eq!(names.len(), 16);
    assert!(names.iter().all(|(_, name)| name.chars().count() <= 100));
    conversation.shared.skip("Later");
    assert!(conversation.shared.take_skipped().is_empty(), "ever");
    conversation.abort();
}

#[tokio::test]
async fn what_an_exception_says_is_cut() {
    let mut out = BytesMut::new();
    let words = "é".repeat(1 << 20);
    encode_exception("ModelStreamError", Some(&words), &words, &mut out).unwrap();
    let (_, end) = heard(vec![out.freeze()]).await;
    let LegEnd::Closed { code, text } = end else {
        panic!("{end:?}");
    };
    assert_eq!((code.len(), text.len()), (4 << 10, 4 << 10));
}

/// A leg without a message can end in many ways, and each has its own end.
#[tokio::test]
async fn a_leg_that_brings_nothing_tells_how_it_ended() {
    let data = |flags, payload: &[u8]| frame(DATA, flags, STREAM, payload);
    let headers = |flags, block: &[u8]| frame(HEADERS, flags, STREAM, block);
    let end = END_HEADERS | END_STREAM;
    // `grpc-status: 0`, as a literal.
    let trailers = b"\0\x0bgrpc-status\x010";
    let cases = [
        (vec![headers(end, &[0x88])], LegEnd::Clean),
        (vec![accepted(), data(END_STREAM, b"")], LegEnd::Clean),
        (vec![accepted(), headers(end, trailers)], LegEnd::Clean),
        (
            vec![accepted(), data(END_STREAM, &unknown("Weather"))],
            LegEnd::Clean,
        ),
        (
            vec![accepted(), data(END_STREAM, &unknown("initial-response"))],
            LegEnd::Clean,
        ),
        (vec![accepted(), reset(0)], LegEnd::Reset { code: Some(0) }),
        (vec![accepted(), reset(7)], LegEnd::Reset { code: Some(7) }),
        (vec![accepted(), reset(8)], LegEnd::Reset { code: Some(8) }),
        (
            vec![accepted(), goaway(0, 0)],
            LegEnd::GoAway { code: Some(0) },
        ),
        (
            vec![accepted(), goaway(0, 11)],
            LegEnd::GoAway { code: Some(11) },
        ),
    ];
    for (frames, expected) in cases {
        let peer = Peer::raw(move |mut raw| {
            let frames = frames.clone();
            async move {
                raw.write(&frames).await;
                raw.drain().await;
            }
        })
        .await;
        let conversation = Conversation::over(&peer.pool()).await;
        conversation.finish();
        assert_eq!(conversation.end().await, expected);
        eventually("the connection's end", || peer.live() == 0).await;
    }
}

/// An answer's headers have a limit, in one frame or in many.
#[tokio::test]
async fn an_answers_headers_have_a_limit() {
    let header = |name: u8, length: usize| {
        // A literal without a place in the table, its value of up to 16 KiB.
        let mut block = vec![0, 3, b'x', b'-', b'a' + name, 127];
        let rest = length - 127;
        block.extend([(rest % 128 + 128) as u8, (rest / 128) as u8]);
        block.extend(vec![b'v'; length]);
        block
    };
    for (count, accepted) in [(4, true), (5, false), (20, false)] {
        let peer = Peer::raw(move |mut raw| async move {
            let mut frames = vec![frame(HEADERS, 0, STREAM, &[0x88])];
            for name in 0..count {
                frames.push(frame(9, 0, STREAM, &header(name, 15_000)));
            }
            frames.push(frame(9, END_HEADERS, STREAM, &[]));
            raw.write(&frames).await;
            raw.drain().await;
        })
        .await;
        match open(&peer.pool()).await {
            Ok(leg) => {
                assert!(accepted, "{count}");
                assert_eq!(leg.exchange.headers.len(), usize::from(count));
            }
            Err(failure) => {
                assert!(!accepted, "{failure}");
                assert_eq!(failure.kind, FailureKind::Protocol, "{failure}");
            }
        }
    }
}
