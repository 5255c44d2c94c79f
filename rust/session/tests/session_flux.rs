//! Flux over legs that fail: whatever happens, the application sees one conversation.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a test's numbers are small, and its times not negative"
)]

mod flux;
mod simulator;

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use dgsm_leg::frame::Frame;
use dgsm_session::{Notice, Settings};
use flux::{Flux, Scene, Wrapping};
use proptest::prelude::*;
use serde_json::{Value, json};
use simulator::{CloseFault, Fault, FaultKind, Plan, Run, few_model_errors, patient, play};

/// The sum of roundings that is allowed, in microseconds.
const ROUNDING: i64 = 3;

/// A conversation with Flux.
#[derive(Clone, Debug)]
struct Talk {
    scene: Scene,
    samples: u64,
    /// Bytes a chunk, in a cycle.
    chunks: Vec<usize>,
    /// Windows after which the application ends the turn itself.
    forced: Vec<u64>,
    /// Windows after which it configures the model, and whether the model refuses.
    configures: Vec<(u64, bool)>,
    /// The rest of the plan. The script is made of the above.
    plan: Plan,
}

impl Talk {
    fn play(&self) -> Run<Flux> {
        let mut plan = self.plan.clone();
        plan.path = "v2/listen";
        plan.query = self.scene.query();
        plan.script = self.script();
        play(&plan, &|number| Flux::new(&self.scene, number))
    }

    fn script(&self) -> Vec<(Duration, Frame)> {
        let audio = Bytes::from(self.scene.audio(self.samples));
        let header = self.scene.header();
        let place =
            |window: u64| (header + (window * self.scene.window()) as usize * 4).min(audio.len());
        let force = json!({"type": "ForceEndTurn"});
        let mut controls: Vec<(usize, Value)> = self
            .forced
            .iter()
            .map(|at| (place(*at), force.clone()))
            .collect();
        for ((at, refuse), mark) in self.configures.iter().zip(1_u64..) {
            let fields = format!("only_{mark}");
            let message =
                json!({"type": "Configure", "mark": mark, "refuse": refuse, fields: true});
            controls.push((place(*at), message));
        }
        controls.sort_by_key(|(at, _)| *at);
        let due = |at: usize| Duration::from_secs_f64(at as f64 / 4.0 / f64::from(self.scene.rate));
        let (mut script, mut at) = (Vec::new(), 0);
        let mut controls = controls.into_iter().peekable();
        let mut sizes = self.chunks.iter().cycle();
        while at < audio.len() || controls.peek().is_some() {
            let next = controls.peek().map_or(audio.len(), |(place, _)| *place);
            let end = (at + sizes.next().unwrap())
                .min(audio.len())
                .min(next.max(at));
            if end > at {
                script.push((due(end), Frame::Binary(audio.slice(at..end))));
            }
            at = end;
            while controls.peek().is_some_and(|(place, _)| *place <= at) {
                let (_, message) = controls.next().unwrap();
                script.push((due(at), Frame::from(message.to_string())));
            }
        }
        if !self.plan.finish {
            script.push((due(at), Frame::from(r#"{"type":"CloseStream"}"#)));
        }
        script
    }

    /// Returns the words of each turn of the scene.
    fn turns(&self) -> Vec<Vec<u64>> {
        let mut turns: Vec<Vec<u64>> = Vec::new();
        for stretch in &self.scene.speech {
            match turns.last_mut() {
                Some(turn) if stretch.start - turn.last().unwrap() <= self.scene.end => {
                    turn.extend(stretch.clone());
                }
                _ => turns.push(stretch.clone().collect()),
            }
        }
        turns
    }

    fn check(&self, run: &Run<Flux>) {
        let messages: Vec<Value> = run
            .frames
            .iter()
            .map(|frame| serde_json::from_slice(frame.bytes()).unwrap())
            .collect();
        for (message, number) in messages.iter().zip(0_u64..) {
            assert_eq!(message["sequence_id"], number, "{message}");
            assert_eq!(message["type"] == "Connected", number == 0, "{message}");
            assert_ne!(message["type"], "Error", "it was held back for nothing");
        }
        if run.stats.rollovers == 0 {
            let said: Vec<&Frame> = run
                .first_leg
                .iter()
                .filter(|frame| !frame.as_str().unwrap().contains("\"Error\""))
                .collect();
            assert!(run.frames.iter().zip(&said).all(|(got, said)| got == *said));
            assert!(run.frames.len() >= said.len());
        }
        for service in &run.services {
            assert!(
                service
                    .controls
                    .iter()
                    .all(|message| message["type"] != "KeepAlive")
            );
        }
        self.check_turns(&messages);
        self.check_configures(&messages, run);
    }

    fn check_turns(&self, messages: &[Value]) {
        let rate = i128::from(self.scene.rate);
        let mut turn = Turn::default();
        let mut turns: Vec<Vec<u64>> = Vec::new();
        for message in messages
            .iter()
            .filter(|message| message["type"] == "TurnInfo")
        {
            assert_eq!(message["turn_index"], turns.len(), "{message}");
            if turn.take(message, self) {
                turns.push(turn.words.clone());
                turn = Turn {
                    from: turn.end,
                    end: turn.end,
                    ..Turn::default()
                };
            }
        }
        let reached = i128::from(turn.end);
        let samples = ((reached + i128::from(ROUNDING)) * rate / 1_000_000) as u64;
        assert!(
            reached + 250_000 > i128::from(self.samples) * 1_000_000 / rate,
            "{reached} of {} samples",
            self.samples
        );
        // Words are only missing where a leg ended as if it had said them.
        let in_order = |fault: &Fault| matches!(fault.kind, FaultKind::EarlyEnd | FaultKind::Mute);
        if !self.plan.faults.iter().any(in_order) {
            // A leg's last window may be incomplete.
            let heard = self.samples.saturating_sub(self.scene.window());
            assert!(
                reached + i128::from(ROUNDING) >= i128::from(heard) * 1_000_000 / rate,
                "{reached} of {heard} samples"
            );
        }
        let ended = turns.clone();
        if !turn.words.is_empty() {
            turns.push(turn.words);
        }
        let said: Vec<u64> = turns.concat();
        assert_eq!(said, self.scene.words(0..samples), "up to {reached}");
        if self.forced.is_empty() {
            let planned = self.turns();
            assert_eq!(ended, planned[..ended.len()]);
        }
    }

    fn check_configures(&self, messages: &[Value], run: &Run<Flux>) {
        let replies: Vec<&Value> = messages
            .iter()
            .filter(|message| message["type"].as_str().unwrap().starts_with("Configure"))
            .collect();
        // The session does not wait for answers behind the last window.
        let last =
            self.samples.saturating_sub(u64::from(self.scene.rate) / 2) / self.scene.window();
        let owed = self.configures.iter().filter(|(at, _)| *at < last).count();
        assert!(replies.len() >= owed, "{replies:?}");
        let mut in_effect = 0;
        for (reply, ((_, refused), mark)) in replies.iter().zip(self.configures.iter().zip(1..)) {
            assert_eq!(reply["type"] == "ConfigureFailure", *refused, "{reply}");
            if !refused {
                assert_eq!(reply["mark"], mark);
                in_effect = mark;
            }
        }
        if let Some(last) = run.services.last()
            && last
                .controls
                .iter()
                .any(|message| message["type"] == "CloseStream")
        {
            assert!(last.configured >= in_effect, "{:?}", last.controls);
        }
        let mut before = 0;
        for message in messages
            .iter()
            .filter(|message| message["type"] == "TurnInfo")
        {
            let configured = message["configured"].as_u64().unwrap();
            assert!(configured >= before, "{message}");
            before = configured;
        }
    }
}

/// A turn, as the application follows it.
#[derive(Debug, Default)]
struct Turn {
    /// Where the turn has to start, and where its last window ended, in microseconds.
    from: i64,
    end: i64,
    started: bool,
    eager: Option<String>,
    words: Vec<u64>,
}

fn micros(value: &Value) -> i64 {
    (value.as_f64().unwrap() * 1e6).round() as i64
}

impl Turn {
    /// Takes a message. Returns whether it ends the turn.
    fn take(&mut self, message: &Value, talk: &Talk) -> bool {
        let (start, end) = (
            micros(&message["audio_window_start"]),
            micros(&message["audio_window_end"]),
        );
        assert_eq!(start, self.from, "windows are contiguous: {message}");
        assert!(end >= start, "{message}");
        let event = message["event"].as_str().unwrap();
        let ends = event == "EndOfTurn";
        // In a replay a forced end may come earlier.
        assert!(
            end >= self.end || (ends && !talk.forced.is_empty()),
            "{message} after {self:?}"
        );
        let transcript = message["transcript"].as_str().unwrap();
        let words: Vec<&str> = transcript.split_whitespace().collect();
        self.words = words.iter().map(|word| word.parse().unwrap()).collect();
        self.check_words(message, &words, talk);
        match event {
            "StartOfTurn" => assert!(!std::mem::replace(&mut self.started, true), "{message}"),
            "Update" => {
                assert!(self.started || words.is_empty(), "{message}");
                assert!(
                    self.eager
                        .as_deref()
                        .is_none_or(|eager| eager == transcript)
                );
            }
            "EagerEndOfTurn" => {
                assert!(self.started && self.eager.is_none(), "{message}");
                self.eager = Some(transcript.to_owned());
            }
            "TurnResumed" => assert!(self.eager.take().is_some(), "{message}"),
            "EndOfTurn" => {
                assert!(self.started, "{message}");
                assert!(
                    self.eager
                        .as_deref()
                        .is_none_or(|eager| eager == transcript)
                );
            }
            other => panic!("unknown event {other}"),
        }
        assert_eq!(message.get("trigger").is_some(), ends, "{message}");
        self.end = end;
        ends
    }

    fn check_words(&self, message: &Value, words: &[&str], talk: &Talk) {
        let entries = message["words"].as_array().unwrap();
        let written: Vec<&str> = entries
            .iter()
            .map(|entry| entry["word"].as_str().unwrap())
            .collect();
        assert_eq!(written, words);
        if !talk.scene.timed {
            return;
        }
        let rate = i128::from(talk.scene.rate);
        for (entry, word) in entries.iter().zip(&self.words) {
            let end = i128::from((word + 1) * talk.scene.window()) * 1_000_000 / rate;
            let off = i128::from(micros(&entry["end"])) - end;
            assert!(off.abs() <= i128::from(ROUNDING), "{entry} is {off} µs off");
        }
    }
}

/// Turns with pauses in them, and silence between them, in windows.
fn speech(end: u64) -> impl Strategy<Value = Vec<Range<u64>>> {
    let stretch = (1..end - 1, 1..6_u64);
    let turn = (end + 3..end + 40, prop::collection::vec(stretch, 1..4));
    prop::collection::vec(turn, 0..5).prop_map(|turns| {
        let (mut speech, mut at) = (Vec::new(), 0);
        for (silence, stretches) in turns {
            at += silence;
            for (pause, words) in stretches {
                at += pause;
                speech.push(at..at + words);
                at += words;
            }
        }
        speech
    })
}

fn scene() -> impl Strategy<Value = Scene> {
    let wrapping = prop_oneof![
        5 => Just(Wrapping::Raw),
        1 => Just(Wrapping::Wav),
        1 => Just(Wrapping::Ogg),
    ];
    let rate = prop_oneof![Just(800_u32), Just(2205), Just(8000), Just(11025)];
    (4..9_u64).prop_flat_map(move |end| {
        (
            (rate.clone(), wrapping.clone(), speech(end)),
            prop::collection::vec(prop::option::weighted(0.7, 1..end), 1..4),
            (
                prop_oneof![Just(0_u64), 0..12_u64],
                any::<bool>(),
                any::<bool>(),
            ),
        )
            .prop_map(
                move |((rate, wrapping, speech), eager, (lateness, timed, full_precision))| Scene {
                    rate,
                    wrapping,
                    speech,
                    eager,
                    end,
                    lateness,
                    timed,
                    full_precision,
                },
            )
    })
}

fn fault() -> impl Strategy<Value = Fault> {
    let kind = prop_oneof![
        2 => Just(FaultKind::Reset),
        1 => Just(FaultKind::Dropped),
        1 => Just(FaultKind::GoAway),
        1 => Just(FaultKind::EarlyEnd),
        1 => Just(FaultKind::ModelError),
        1 => Just(FaultKind::ServiceFailure),
        1 => Just(FaultKind::Mute),
        2 => Just(FaultKind::Draining),
    ];
    let after = prop_oneof![1 => Just(0_u64), 4 => 0..20_000_u64];
    let open_failures = prop_oneof![3 => Just(0), 1 => 0..3_u32];
    (kind, after, 0..4_usize, open_failures).prop_map(|(kind, after, said, open_failures)| Fault {
        kind,
        after,
        said,
        open_failures,
    })
}

fn close_fault() -> impl Strategy<Value = CloseFault> {
    (0..3_usize).prop_map(cut_short)
}

/// The leg is reset when it has said this many of its last messages.
fn cut_short(said: usize) -> CloseFault {
    CloseFault {
        kind: FaultKind::Reset,
        said,
    }
}

fn plan() -> impl Strategy<Value = Plan> {
    (
        (
            any::<bool>(),
            any::<bool>(),
            prop::collection::vec(fault(), 0..8),
        ),
        prop_oneof![2 => Just(vec![]), 1 => prop::collection::vec(close_fault(), 0..3)],
        (0..6_u64, 0..10_u32, any::<u64>()),
        prop_oneof![3 => Just(None), 1 => (1500..4000_u64).prop_map(Some)],
        prop_oneof![Just(Some(4.0)), Just(Some(1.0)), Just(None)],
    )
        .prop_map(
            |((live, finish, faults), close_faults, (delay, opening, seed), age, replay_speed)| {
                Plan {
                    live,
                    finish,
                    faults: few_model_errors(faults),
                    close_faults,
                    delay,
                    opening,
                    seed,
                    settings: Settings {
                        max_leg_age: age.map(Duration::from_millis),
                        replay_speed,
                        ..patient()
                    },
                    ..quiet_plan()
                }
            },
        )
}

/// A plan in which nothing goes wrong.
fn quiet_plan() -> Plan {
    Plan::quiet("v2/listen", patient())
}

fn talk() -> impl Strategy<Value = Talk> {
    let places = prop_oneof![2 => Just(vec![]), 1 => prop::collection::vec(0..150_u64, 0..4)];
    let configures = prop::collection::vec((0..150_u64, prop::bool::weighted(0.2)), 0..4);
    let configures = prop_oneof![2 => Just(vec![]), 1 => configures];
    (
        (scene(), 0..40_u64, 0..100_u64),
        prop::collection::vec(40..6000_usize, 1..5),
        (places, configures),
        plan(),
    )
        .prop_map(
            |((mut scene, rest, odd), chunks, (forced, mut configures), plan)| {
                let windows = scene.speech.last().map_or(0, |stretch| stretch.end) + rest;
                configures.sort_by_key(|(at, _)| *at);
                // Without times it is unknown which words of a turn belong to an earlier one.
                scene.timed |= scene.wrapping == Wrapping::Ogg && !forced.is_empty();
                let samples = windows * scene.window() + odd % scene.window();
                Talk {
                    scene,
                    samples,
                    chunks,
                    forced,
                    configures,
                    plan,
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(1500),
        failure_persistence: None,
        max_shrink_iters: 2000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn one_conversation_whatever_happens(talk in talk()) {
        talk.check(&talk.play());
    }
}

/// Ten turns with a pause in each, at a model that is eager.
fn ten_turns(eager: Vec<Option<u64>>) -> Talk {
    let mut speech = Vec::new();
    for turn in 0..10 {
        let at = turn * 40 + 10;
        speech.extend([at..at + 5, at + 9..at + 14]);
    }
    let scene = Scene {
        rate: 8000,
        wrapping: Wrapping::Raw,
        speech,
        eager,
        end: 8,
        lateness: 0,
        timed: true,
        full_precision: false,
    };
    let samples = 400 * scene.window();
    Talk {
        scene,
        samples,
        chunks: vec![320],
        forced: Vec::new(),
        configures: Vec::new(),
        plan: Plan {
            live: true,
            ..quiet_plan()
        },
    }
}

fn fault_after(windows: u64, kind: FaultKind) -> Fault {
    Fault {
        kind,
        after: windows * 640,
        said: 0,
        open_failures: 0,
    }
}

/// Returns the messages that the application reads, without request ids.
fn events(run: &Run<Flux>) -> Vec<Value> {
    let mut messages: Vec<Value> = run
        .frames
        .iter()
        .map(|frame| serde_json::from_slice(frame.bytes()).unwrap())
        .collect();
    for message in &mut messages {
        message["request_id"].take();
    }
    messages
}

#[test]
fn a_reset_in_every_turn_changes_nothing() {
    let talk = ten_turns(vec![Some(3)]);
    let quiet = talk.play();
    talk.check(&quiet);
    assert_eq!(quiet.stats.legs, 1);
    let ends = |run: &Run<Flux>| -> Vec<Value> {
        events(run)
            .into_iter()
            .filter(|message| message["event"] == "EndOfTurn")
            .collect()
    };
    for (window, kind) in [
        (18, FaultKind::Reset),
        (21, FaultKind::Dropped),
        (27, FaultKind::GoAway),
    ] {
        let mut failing = talk.clone();
        failing.plan.faults = std::iter::once(fault_after(window, kind))
            .chain((1..10).map(|_| fault_after(40, kind)))
            .collect();
        let run = failing.play();
        failing.check(&run);
        assert_eq!(run.stats.legs, 11, "{kind:?}");
        let (said, expected) = (ends(&run), ends(&quiet));
        assert_eq!(said.len(), 10);
        for (said, expected) in said.iter().zip(&expected) {
            for field in [
                "turn_index",
                "audio_window_start",
                "audio_window_end",
                "transcript",
                "words",
            ] {
                assert_eq!(said[field], expected[field], "{said}");
            }
        }
    }
}

#[test]
fn the_next_leg_says_what_a_failure_took_from_the_last_window() {
    let mut talk = ten_turns(vec![None]);
    talk.plan.close_faults = vec![cut_short(0)];
    let mut broken = 0;
    // In the middle of a turn, and of the span of one Update.
    for windows in 12..24 {
        talk.samples = windows * talk.scene.window();
        let run = talk.play();
        talk.check(&run);
        broken += run.stats.legs - 1;
        let end = talk.samples as f64 / f64::from(talk.scene.rate);
        let last = events(&run).last().unwrap()["audio_window_end"].as_f64();
        assert!((last.unwrap() - end).abs() < 1e-5, "{last:?} of {end}");
    }
    assert!(broken >= 6, "{broken}");
}

#[test]
fn an_eager_end_that_the_next_leg_does_not_find_is_taken_back() {
    // The first leg is eager, the next one is not.
    let mut talk = ten_turns(vec![Some(3), None]);
    // Behind the eager end in the first turn's pause: window 10 + 5 + 3.
    talk.plan.faults = vec![Fault {
        said: 1,
        ..fault_after(18, FaultKind::Reset)
    }];
    let run = talk.play();
    talk.check(&run);
    let said: Vec<String> = events(&run)
        .iter()
        .filter(|message| message["turn_index"] == 0 && message["event"] != "Update")
        .map(|message| message["event"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        said,
        ["StartOfTurn", "EagerEndOfTurn", "TurnResumed", "EndOfTurn"]
    );
}

#[test]
fn an_eager_end_that_the_next_leg_confirms_stays() {
    let mut talk = ten_turns(vec![Some(5), Some(3)]);
    // Behind the eager end after the first turn's last word: window 10 + 14 + 5.
    talk.plan.faults = vec![Fault {
        said: 1,
        ..fault_after(29, FaultKind::Reset)
    }];
    let run = talk.play();
    talk.check(&run);
    let said: Vec<String> = events(&run)
        .iter()
        .filter(|message| message["turn_index"] == 0 && message["event"] != "Update")
        .map(|message| message["event"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(said, ["StartOfTurn", "EagerEndOfTurn", "EndOfTurn"]);
}

#[test]
fn a_rollover_is_cut_at_the_end_of_a_turn() {
    let mut talk = ten_turns(vec![Some(3)]);
    talk.plan.faults = vec![fault_after(15, FaultKind::Draining)];
    let run = talk.play();
    talk.check(&run);
    assert_eq!((run.stats.legs, run.stats.rollovers), (2, 1));
    // Nothing of the first turn is heard twice: 10 + 14 + 8 windows.
    assert_eq!(run.services[1].start(), Some(32 * 640));
    assert!(run.stats.resets.is_empty());
}

#[test]
fn a_leg_that_hears_other_audio_again_takes_over_unheard() {
    let mut talk = ten_turns(vec![Some(3)]);
    talk.scene.wrapping = Wrapping::Ogg;
    talk.plan.faults = vec![fault_after(15, FaultKind::Draining)];
    let run = talk.play();
    talk.check(&run);
    assert_eq!((run.stats.legs, run.stats.rollovers), (2, 1));
    assert_eq!(run.services[1].start(), Some(0));
    assert!(run.stats.resets.is_empty());
}

#[test]
fn a_leg_that_hears_other_audio_again_is_told_what_was_accepted_meanwhile() {
    let mut talk = ten_turns(vec![None]);
    talk.scene.rate = 2205;
    talk.scene.wrapping = Wrapping::Ogg;
    talk.scene.timed = false;
    talk.scene.speech = vec![29..32, 33..36, 38..42];
    talk.scene.end = 4;
    talk.samples = 8800;
    talk.chunks = vec![4656];
    // While the second leg is being opened, which takes over when the first one fails.
    talk.configures = vec![(36, false)];
    talk.plan.opening = 3;
    talk.plan.seed = 5_029_702_061_923_152_925;
    talk.plan.settings.replay_speed = Some(1.0);
    talk.plan.settings.max_leg_age = Some(Duration::from_millis(1608));
    talk.plan.faults = vec![
        Fault {
            open_failures: 2,
            ..fault_after(0, FaultKind::Draining)
        },
        Fault {
            after: 7503,
            ..fault_after(0, FaultKind::Reset)
        },
    ];
    talk.check(&talk.play());
}

#[test]
fn between_turns_two_seconds_are_heard_again() {
    let mut talk = ten_turns(vec![None]);
    talk.scene.speech.truncate(2);
    talk.plan.faults = vec![fault_after(300, FaultKind::Reset)];
    let run = talk.play();
    talk.check(&run);
    // Two seconds before the last Update ahead of window 300.
    let start = run.services[1].start().unwrap();
    assert!(
        (300 - 25 - 4..=300 - 25).contains(&(start / 640)),
        "{start}"
    );
}

#[test]
fn evicted_audio_is_reported_and_the_clock_stays_right() {
    let mut talk = ten_turns(vec![None]);
    // One turn without an end.
    talk.scene.speech = std::iter::once(10..300).collect();
    talk.plan.settings.max_replay_buffer_bytes = 64 * 640 * 4;
    talk.plan.faults = vec![fault_after(200, FaultKind::Reset)];
    let run = talk.play();
    let gap = run.notices.iter().find_map(|notice| match notice {
        Notice::Gap {
            start_seconds,
            seconds,
            ..
        } => Some((*start_seconds, *seconds)),
        _ => None,
    });
    let (lost_from, lost) = gap.expect("it was evicted");
    assert!((9.0..12.0).contains(&lost), "{lost}");
    let heard = run.services[1].start().unwrap() as f64 / 8000.0;
    assert!(
        (lost_from + lost - heard).abs() < 1e-6,
        "{lost_from} + {lost} is not {heard}"
    );
    let messages = events(&run);
    let end = messages
        .iter()
        .rfind(|message| message["event"] == "EndOfTurn")
        .unwrap();
    assert_eq!(end["turn_index"], 0);
    let word = end["words"].as_array().unwrap().last().unwrap();
    assert_eq!((&word["word"], &word["end"]), (&json!("299"), &json!(24.0)));
}

#[test]
fn a_leg_that_waits_for_its_pace_has_not_stalled() {
    let mut talk = ten_turns(vec![None]);
    talk.scene.rate = 800;
    talk.scene.wrapping = Wrapping::Ogg;
    talk.samples = 8961;
    // The first chunk is too short for an answer. The rest is 1.8 s, which is longer than the stall
    // timeout.
    talk.chunks = vec![104, 5905];
    talk.plan.settings.replay_speed = Some(1.0);
    talk.plan.faults = vec![Fault {
        after: 6292,
        ..fault_after(0, FaultKind::Reset)
    }];
    let run = talk.play();
    talk.check(&run);
    assert_eq!(run.stats.legs, 2, "{:?}", run.notices);
}

#[test]
fn connected_is_said_by_the_leg_that_takes_over_from_one_that_never_spoke() {
    let mut talk = ten_turns(vec![None]);
    talk.scene.wrapping = Wrapping::Ogg;
    talk.scene.rate = 800;
    talk.samples = 3207;
    talk.chunks = vec![2413];
    talk.plan.faults = vec![fault_after(0, FaultKind::Mute)];
    talk.plan.settings.max_leg_age = Some(Duration::from_millis(1500));
    talk.plan.seed = 2_324_130_380_952_259_938;
    let run = talk.play();
    talk.check(&run);
    assert_eq!(events(&run)[0]["type"], "Connected");
}

#[test]
fn nothing_is_said_and_the_session_ends() {
    let mut talk = ten_turns(vec![None]);
    talk.samples = 0;
    talk.plan.finish = true;
    talk.check(&talk.play());
}
