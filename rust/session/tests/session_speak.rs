//! Aura and Flux text to speech over legs that fail: every word once and in order.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "samples and milliseconds of a short session"
)]

mod simulator;
mod speaking;

use dgsm_session::Notice;
use proptest::prelude::*;
use serde_json::{Value, json};
use simulator::{FaultKind, LegFault};
use speaking::server::{Model, Voice, hertz_of, linear, millis_of};
use speaking::{Act, Heard, Plan, Run, run};

const NUMBERED: &str = "encoding=linear16&sample_rate=8000&container=none";
const MODEL: Model = Model {
    voice: Voice::Numbered,
    chunk: 160,
    eager: false,
    variant: false,
    mute: false,
    header: false,
};

fn speak(words: std::ops::Range<usize>) -> Act {
    let words: Vec<String> = words.map(|word| word.to_string()).collect();
    Act::Send(json!({"type": "Speak", "text": words.join(" ")}))
}

fn send(kind: &str) -> Act {
    Act::Send(json!({ "type": kind }))
}

fn plan(version: u8, acts: Vec<Act>, faults: Vec<LegFault>) -> Plan {
    Plan {
        version,
        query: NUMBERED,
        model: MODEL,
        acts,
        faults,
        pace: 1,
        opening: 1,
        seed: 7,
    }
}

fn reset(after: usize) -> LegFault {
    LegFault {
        after,
        kind: FaultKind::Reset,
    }
}

/// Returns the words of numbered audio. Counts every sample, and fails on a word that is cut.
fn words(audio: &[u8]) -> Vec<usize> {
    assert_eq!(audio.len() % 2, 0, "half a sample");
    let samples: Vec<usize> = audio
        .chunks(2)
        .map(|sample| usize::from(u16::from_le_bytes([sample[0], sample[1]])))
        .collect();
    let mut words = Vec::new();
    for run in samples.chunk_by(|a, b| a == b) {
        let block = 8 * millis_of(run[0]);
        assert_eq!(
            run.len() % block,
            0,
            "a part of word {} after {words:?}",
            run[0]
        );
        words.extend(std::iter::repeat_n(run[0], run.len() / block));
    }
    words
}

/// Returns what the application read: messages, and the audio between them as one stretch.
fn story(run: &Run) -> Vec<String> {
    let mut story = Vec::new();
    let mut audio = Vec::new();
    for heard in &run.heard {
        match heard {
            Heard::Audio(bytes) => audio.extend_from_slice(bytes),
            Heard::Said(value) => {
                if !audio.is_empty() {
                    story.push(format!("{:?}", words(&std::mem::take(&mut audio))));
                }
                story.push(match value["type"].as_str().unwrap() {
                    kind @ ("Flushed" | "Cleared") if value["sequence_id"].is_u64() => {
                        format!("{kind} {}", value["sequence_id"])
                    }
                    kind => kind.to_owned(),
                });
            }
        }
    }
    if !audio.is_empty() {
        story.push(format!("{:?}", words(&audio)));
    }
    story
}

const TWO_TURNS: [&str; 5] = ["Metadata", "[0, 1, 2]", "Flushed 0", "[3, 4]", "Flushed 1"];

fn two_turns() -> Vec<Act> {
    vec![
        speak(0..2),
        speak(2..3),
        send("Flush"),
        speak(3..5),
        send("Flush"),
        send("Close"),
    ]
}

#[test]
fn without_faults_everything_passes_as_it_comes() {
    let run = run(&plan(1, two_turns(), vec![]));
    assert_eq!(story(&run), TWO_TURNS);
    assert_eq!((run.legs, run.spoken), (1, 5));
    let lengths: Vec<usize> = run
        .heard
        .iter()
        .filter_map(|heard| match heard {
            Heard::Audio(bytes) => Some(bytes.len()),
            Heard::Said(_) => None,
        })
        .collect();
    assert_eq!(
        lengths[..4],
        [160, 160, 160, 160],
        "messages are not regrouped"
    );
}

#[test]
fn a_reset_anywhere_is_not_heard() {
    for after in 0..14 {
        for kind in [FaultKind::Reset, FaultKind::EarlyEnd, FaultKind::ModelError] {
            let run = run(&plan(1, two_turns(), vec![LegFault { kind, after }]));
            assert_eq!(story(&run), TWO_TURNS, "{kind:?} after {after}");
            assert_eq!(run.joins(), 0);
        }
    }
}

#[test]
fn a_reset_in_the_middle_of_a_sample_is_not_heard() {
    for chunk in [1, 3, 77] {
        for after in 1..30 {
            let model = Model {
                chunk,
                eager: true,
                ..MODEL
            };
            let run = run(&Plan {
                model,
                ..plan(1, two_turns(), vec![reset(after)])
            });
            assert_eq!(
                story(&run),
                TWO_TURNS,
                "{chunk}-byte messages, after {after}"
            );
            assert_eq!(run.joins(), 0);
        }
    }
}

#[test]
fn text_without_a_flush_is_said_at_the_close() {
    let acts = vec![speak(0..3), Act::Pause(3), send("Close")];
    for after in 0..8 {
        let run = run(&plan(1, acts.clone(), vec![reset(after)]));
        assert_eq!(story(&run), ["Metadata", "[0, 1, 2]"], "after {after}");
        let resets = run.notices.iter();
        let resets =
            resets.filter(|notice| matches!(notice, Notice::LegEnded { again: Some(_), .. }));
        assert!(resets.count() <= 1, "the end in order answers");
    }
}

#[test]
fn an_idle_session_stays_without_a_leg() {
    let acts = vec![
        speak(0..3),
        send("Flush"),
        Act::Answered,
        Act::Pause(3000),
        speak(3..5),
        send("Flush"),
        send("Close"),
    ];
    // The service ends after Flushed. Thirteen seconds later there is more to say.
    let fault = LegFault {
        after: 8,
        kind: FaultKind::EarlyEnd,
    };
    let run = run(&plan(1, acts, vec![fault]));
    assert_eq!(story(&run), TWO_TURNS);
    assert_eq!(run.legs, 2);
}

#[test]
fn a_rollover_cuts_between_turns() {
    let acts = vec![
        speak(0..3),
        send("Flush"),
        speak(3..5),
        send("Flush"),
        Act::Answered,
        send("Close"),
    ];
    for after in 1..12 {
        let fault = LegFault {
            after,
            kind: FaultKind::Draining,
        };
        let run = run(&plan(1, acts.clone(), vec![fault]));
        assert_eq!(story(&run), TWO_TURNS, "after {after}");
        assert_eq!(run.legs, 2);
    }
}

#[test]
fn cleared_text_is_not_said_again() {
    let acts = vec![
        speak(0..9),
        send("Flush"),
        Act::Hear(500),
        send("Clear"),
        speak(20..22),
        send("Flush"),
        send("Close"),
    ];
    for after in 0..20 {
        let run = run(&plan(1, acts.clone(), vec![reset(after)]));
        // It depends on timing whether the first Flush is answered.
        let said = story_of_kinds(&run);
        let first = usize::from(said[1] == "Flushed 0");
        let expected = [format!("Cleared {first}"), format!("Flushed {}", first + 1)];
        assert_eq!(said[0], "Metadata");
        assert_eq!(said[1 + first..], expected, "after {after}");
        let audio = run.audio();
        let last = &audio[audio.len() - 2 * 8 * (millis_of(20) + millis_of(21))..];
        assert_eq!(words(last), [20, 21], "after {after}");
    }
}

fn story_of_kinds(run: &Run) -> Vec<String> {
    let said = run.heard.iter().filter_map(|heard| match heard {
        Heard::Said(value) => Some(value),
        Heard::Audio(_) => None,
    });
    said.map(|value| match value["sequence_id"].as_u64() {
        Some(number) => format!("{} {number}", value["type"].as_str().unwrap()),
        None => value["type"].as_str().unwrap().to_owned(),
    })
    .collect()
}

#[test]
fn a_wav_header_is_heard_once() {
    let model = Model {
        header: true,
        ..MODEL
    };
    for after in 0..12 {
        let run = run(&Plan {
            model,
            ..plan(1, two_turns(), vec![reset(after), reset(3)])
        });
        let audio = run.audio();
        assert_eq!(&audio[..4], b"RIFF");
        assert_eq!(words(&audio[44..]), [0, 1, 2, 3, 4], "after {after}");
    }
}

#[test]
fn a_codec_is_cut_at_the_byte() {
    let model = Model {
        voice: Voice::Opaque,
        ..MODEL
    };
    for after in 0..12 {
        let plan = plan(1, two_turns(), vec![reset(after)]);
        let run = run(&Plan {
            model,
            query: "encoding=opus&sample_rate=48000",
            ..plan
        });
        assert_eq!(story(&run), TWO_TURNS, "after {after}");
    }
}

// Flux.

#[test]
fn a_flux_turn_keeps_its_speech_id() {
    for variant in [false, true] {
        for after in 0..18 {
            for kind in [FaultKind::Reset, FaultKind::EarlyEnd, FaultKind::Draining] {
                let model = Model { variant, ..MODEL };
                let plan = plan(2, two_turns(), vec![LegFault { kind, after }]);
                let run = run(&Plan { model, ..plan });
                check_flux(&run, &[(0..3).collect(), (3..5).collect()]);
                assert_eq!(run.joins(), 0);
            }
        }
    }
}

#[test]
fn a_service_without_flushed() {
    for after in 0..18 {
        let model = Model {
            mute: true,
            variant: true,
            ..MODEL
        };
        let run = run(&Plan {
            model,
            ..plan(2, two_turns(), vec![reset(after), reset(4)])
        });
        assert_eq!(words(&run.audio()), [0, 1, 2, 3, 4], "after {after}");
        assert_eq!(run.said("SpeechMetadata").len(), 2);
    }
}

/// Checks that each turn's words lie between its start and its end, under one name, and that the
/// sums are right.
fn check_flux(run: &Run, turns: &[Vec<usize>]) {
    assert_eq!(run.said("Connected").len(), 1);
    let mut names = Vec::new();
    let mut audio = Vec::new();
    let mut spoken = Vec::new();
    let (mut flushed, mut millis, mut counts) = (Vec::new(), 0, 0);
    for heard in &run.heard {
        let value = match heard {
            Heard::Audio(bytes) => {
                audio.extend_from_slice(bytes);
                continue;
            }
            Heard::Said(value) => value,
        };
        match value["type"].as_str().unwrap() {
            "SpeechStarted" => {
                assert!(audio.is_empty());
                names.push(value["speech_id"].clone());
            }
            "SpeechMetadata" => {
                assert_eq!(Some(&value["speech_id"]), names.last());
                assert_eq!(value["audio_duration_ms"], audio.len() / 16);
                millis += audio.len() / 16;
                counts += value["input_character_count"].as_u64().unwrap();
                spoken.push(words(&std::mem::take(&mut audio)));
            }
            "Flushed" => flushed.push(value["speech_id"].clone()),
            "SessionMetadata" => {
                assert_eq!(value["total_audio_duration_ms"], millis);
                assert_eq!(value["total_input_character_count"], counts);
                assert_eq!(value["total_billable_character_count"], counts);
            }
            "Connected" => {}
            other => panic!("{other}"),
        }
    }
    assert_eq!(spoken, turns);
    assert_eq!(flushed, names);
    let different: std::collections::HashSet<&Value> = names.iter().collect();
    assert_eq!(different.len(), names.len());
    assert_eq!(run.said("SessionMetadata").len(), 1);
}

#[test]
fn an_interrupt_is_answered_on_the_session_s_clock() {
    // 20 + 30 + 10 ms, then nine words, of which about half is played.
    let acts = vec![
        speak(1..4),
        send("Flush"),
        Act::Answered,
        speak(4..13),
        send("Flush"),
        Act::Hear(800),
        Act::Interrupt { permille: 700 },
        Act::Answered,
        speak(20..22),
        send("Flush"),
        Act::Answered,
        send("Close"),
    ];
    for variant in [false, true] {
        for after in 0..24 {
            let model = Model { variant, ..MODEL };
            let faults = vec![reset(after), reset(5)];
            let run = run(&Plan {
                model,
                ..plan(2, acts.clone(), faults)
            });
            check_interrupts(&run, 1);
            let last = run.audio();
            let last = &last[last.len() - 16 * (millis_of(20) + millis_of(21))..];
            assert_eq!(words(last), [20, 21]);
        }
    }
}

/// Checks that every Interrupt is answered once, with the words that were heard.
fn check_interrupts(run: &Run, count: usize) {
    let mut audio: Vec<u8> = Vec::new();
    let (mut clock, mut turn_start, mut names) = (0, 0, Vec::new());
    let mut answers = 0;
    for heard in &run.heard {
        let value = match heard {
            Heard::Audio(bytes) => {
                audio.extend_from_slice(bytes);
                clock = turn_start + audio.len() / 16;
                continue;
            }
            Heard::Said(value) => value,
        };
        match value["type"].as_str().unwrap() {
            "SpeechStarted" => names.push(value["speech_id"].clone()),
            "SpeechMetadata" => {
                words(&audio);
                audio.clear();
                turn_start = clock;
            }
            "SpeechInterrupted" => {
                answers += 1;
                let played = value["audio_played_ms"].as_u64().unwrap() as usize;
                assert!(played <= clock, "{played} of {clock}");
                let mut end = turn_start;
                let mut spoken = Vec::new();
                let mut rest = audio.as_slice();
                while let Some(sample) = rest.first_chunk::<2>() {
                    let word = usize::from(u16::from_le_bytes(*sample));
                    end += millis_of(word);
                    if end > played {
                        break;
                    }
                    spoken.push(word.to_string());
                    rest = &rest[16 * millis_of(word)..];
                }
                assert_eq!(value["text_spoken"], spoken.join(" "));
                assert_eq!(Some(&value["metadata"]["speech_id"]), names.last());
                audio.clear();
                clock = played;
                turn_start = clock;
            }
            "Warning" => answers += 1,
            "SessionMetadata" => assert_eq!(value["total_audio_duration_ms"], clock),
            _ => {}
        }
    }
    assert_eq!(answers, count, "{:?}", story_of_kinds(run));
}

#[test]
fn accepted_settings_head_the_next_leg() {
    let configure = |speed: f64| Act::Send(json!({"type": "Configure", "speed": speed}));
    let acts = vec![
        configure(1.2),
        speak(0..3),
        send("Flush"),
        configure(9.0),
        Act::Answered,
        configure(0.8),
        speak(3..5),
        send("Flush"),
        send("Close"),
    ];
    for after in 0..22 {
        let run = run(&plan(2, acts.clone(), vec![reset(after), reset(3)]));
        assert_eq!(words(&run.audio()), [0, 1, 2, 3, 4]);
        let replies: Vec<&str> = run
            .heard
            .iter()
            .filter_map(|heard| match heard {
                Heard::Said(value) => value["type"]
                    .as_str()
                    .filter(|kind| kind.starts_with("Conf")),
                Heard::Audio(_) => None,
            })
            .collect();
        let expected = ["ConfigureSuccess", "ConfigureFailure", "ConfigureSuccess"];
        assert_eq!(replies, expected, "after {after}");
    }
}

// A voice that differs in every synthesis.

/// Returns the audible tones in order, each with its length in milliseconds.
fn tones(voice: Voice, samples: &[i32]) -> Vec<(usize, usize)> {
    let frame = voice.rate() / 100;
    let mut tones: Vec<(usize, usize)> = Vec::new();
    let mut quiet = true;
    for frame in samples.chunks_exact(frame * 2) {
        let loud = frame
            .iter()
            .map(|value| i64::from(value.abs()))
            .sum::<i64>();
        let after_quiet = quiet;
        quiet = loud / (frame.len() as i64) < 1500;
        if quiet {
            continue;
        }
        let crossings = frame
            .windows(2)
            .filter(|pair| (pair[0] < 0) != (pair[1] < 0))
            .count();
        let hertz = crossings as f64 / 2.0 / 0.020;
        let tone = (0..6)
            .min_by(|a, b| {
                let far = |word: usize| (hertz_of(word).ln() - hertz.max(1.0).ln()).abs();
                far(*a).total_cmp(&far(*b))
            })
            .unwrap();
        match tones.last_mut() {
            Some((last, millis)) if *last == tone && !after_quiet => *millis += 20,
            _ => tones.push((tone, 20)),
        }
    }
    // Where a word begins or ends, or where two syntheses are joined, a frame may belong to
    // neither.
    tones.retain(|(_, millis)| *millis > 40);
    let mut merged: Vec<(usize, usize)> = Vec::new();
    for (tone, millis) in tones {
        match merged.last_mut() {
            Some((last, before)) if *last == tone => *before += millis,
            _ => merged.push((tone, millis)),
        }
    }
    merged
}

fn samples(voice: Voice, audio: &[u8]) -> Vec<i32> {
    match voice {
        Voice::Mulaw => audio.iter().map(|code| linear(*code)).collect(),
        Voice::Numbered | Voice::Tones | Voice::Opaque => audio
            .chunks(2)
            .map(|sample| i32::from(i16::from_le_bytes([sample[0], sample[1]])))
            .collect(),
    }
}

/// Returns the largest step from one sample to the next, relative to the largest within 20 ms
/// around it.
fn click(voice: Voice, samples: &[i32]) -> f64 {
    let steps: Vec<i32> = samples
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).abs())
        .collect();
    let reach = voice.rate() / 50;
    let mut worst = 0.0_f64;
    for (at, step) in steps.iter().enumerate() {
        // It is too soft to be heard.
        if *step < 600 {
            continue;
        }
        let around = at.saturating_sub(reach)..(at + reach).min(steps.len());
        let others = around
            .filter(|other| other.abs_diff(at) > 1)
            .map(|other| steps[other]);
        worst = worst.max(f64::from(*step) / f64::from(others.max().unwrap_or(0).max(1)));
    }
    worst
}

fn other_voice(
    voice: Voice,
    turns: &[usize],
    faults: Vec<LegFault>,
    seed: u64,
    chunk: usize,
) -> Run {
    let query = match voice {
        Voice::Mulaw => "encoding=mulaw&sample_rate=8000",
        Voice::Numbered | Voice::Tones | Voice::Opaque => "encoding=linear16&sample_rate=16000",
    };
    let mut acts = Vec::new();
    let mut word = 0;
    for count in turns {
        acts.extend([speak(word..word + count), send("Flush")]);
        word += count;
    }
    acts.push(send("Close"));
    let model = Model {
        voice,
        chunk,
        ..MODEL
    };
    run(&Plan {
        query,
        model,
        seed,
        pace: 4,
        ..plan(1, acts, faults)
    })
}

fn check_other_voice(voice: Voice, run: &Run, count: usize) {
    let samples = samples(voice, &run.audio());
    let heard = tones(voice, &samples);
    let order: Vec<usize> = heard.iter().map(|(tone, _)| *tone).collect();
    let expected: Vec<usize> = (0..count).map(|word| word % 6).collect();
    assert_eq!(order, expected, "{heard:?}, {:?}", run.notices);
    let click = click(voice, &samples);
    assert!(click < 1.25, "a step of {click:.1} times its neighbourhood");
}

#[test]
fn another_synthesis_is_joined_without_a_click() {
    for voice in [Voice::Tones, Voice::Mulaw] {
        for after in (1..60).step_by(2) {
            let run = other_voice(voice, &[6, 5], vec![reset(after)], after as u64 + 3, 640);
            check_other_voice(voice, &run, 11);
        }
    }
}

/// The end of one word, the beginning of the next and the place where the second synthesis goes on
/// all sound like the same third word for a moment.
#[test]
fn a_join_at_the_start_of_a_word_is_no_other_word() {
    let seed = 14_385_621_630_044_535_394;
    let run = other_voice(Voice::Mulaw, &[4, 3], vec![reset(34)], seed, 209);
    check_other_voice(Voice::Mulaw, &run, 7);
}

fn faults(count: usize, after: usize) -> impl Strategy<Value = Vec<LegFault>> {
    let kind = prop_oneof![
        4 => Just(FaultKind::Reset),
        2 => Just(FaultKind::EarlyEnd),
        1 => Just(FaultKind::ModelError),
        1 => Just(FaultKind::GoAway),
        2 => Just(FaultKind::Draining),
    ];
    let fault = (0..after, kind).prop_map(|(after, kind)| LegFault { kind, after });
    // Two legs that end in order without an answer end the session, and so does a model that fails
    // four times without progress.
    let limited = |faults: Vec<LegFault>| {
        let (mut ends, mut errors) = (0, 0);
        let mut within = |fault: &LegFault| match fault.kind {
            FaultKind::EarlyEnd => std::mem::replace(&mut ends, 1) < 1,
            FaultKind::ModelError => {
                errors += 1;
                errors <= 3
            }
            _ => true,
        };
        faults.into_iter().filter(|fault| within(fault)).collect()
    };
    prop::collection::vec(fault, 0..count).prop_map(limited)
}

fn model() -> impl Strategy<Value = Model> {
    (1_usize..700, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(chunk, eager, variant, header)| Model {
            chunk,
            eager,
            variant,
            header,
            ..MODEL
        },
    )
}

#[derive(Clone, Debug)]
struct TurnPlan {
    words: usize,
    pieces: usize,
    pause: u32,
    wait: bool,
    cut: Option<usize>,
}

fn turn() -> impl Strategy<Value = TurnPlan> {
    let cut = prop::option::weighted(0.3, 0_usize..1000);
    (1_usize..12, 1_usize..4, 0_u32..40, any::<bool>(), cut).prop_map(
        |(words, pieces, pause, wait, cut)| TurnPlan {
            words,
            pieces,
            pause,
            wait,
            cut,
        },
    )
}

/// Makes turns of text in pieces, a Flush and what follows. Returns the acts, and the words of each
/// turn.
fn acts(turns: &[TurnPlan], cut: impl Fn(&mut Vec<Act>, usize)) -> (Vec<Act>, Vec<Vec<usize>>) {
    let (mut acts, mut spoken) = (Vec::new(), Vec::new());
    let mut word = 0;
    for turn in turns {
        let end = word + turn.words;
        spoken.push((word..end).collect());
        for piece in 0..turn.pieces {
            let upto = if piece + 1 == turn.pieces {
                end
            } else {
                (word + 1).min(end)
            };
            if upto > word {
                acts.push(speak(word..upto));
            }
            word = upto;
            acts.push(Act::Pause(turn.pause / 4));
        }
        acts.push(send("Flush"));
        acts.push(Act::Pause(turn.pause));
        match turn.cut {
            Some(permille) => cut(&mut acts, permille),
            None if turn.wait => acts.push(Act::Answered),
            None => {}
        }
    }
    acts.push(send("Close"));
    (acts, spoken)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(400), max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn aura_says_every_word_once(
        turns in prop::collection::vec(turn(), 1..5),
        faults in faults(6, 40),
        model in model(),
        pace in 1_usize..6,
        opening in 0_u32..8,
        seed: u64,
    ) {
        let (acts, spoken) = acts(&turns, |_, _| {});
        let run = run(&Plan { model, pace, opening, seed, ..plan(1, acts, faults) });
        prop_assert_eq!(run.joins(), 0);
        let mut audio = run.audio();
        if model.header {
            prop_assert_eq!(&audio[..4], b"RIFF");
            audio.drain(..44);
        }
        prop_assert_eq!(words(&audio), spoken.concat());
        let mut expected = vec!["Metadata".to_owned()];
        expected.extend((0..turns.len()).map(|number| format!("Flushed {number}")));
        prop_assert_eq!(story_of_kinds(&run), expected);
        if !model.header {
            let turns: Vec<String> = story(&run).into_iter().skip(1).step_by(2).collect();
            let expected: Vec<String> = spoken.iter().map(|turn| format!("{turn:?}")).collect();
            prop_assert_eq!(turns, expected, "audio in its turn");
        }
    }

    #[test]
    fn aura_clears_what_it_is_told_to(
        turns in prop::collection::vec(turn(), 1..6),
        faults in faults(6, 30),
        chunk in 1_usize..400,
        eager: bool,
        variant: bool,
        pace in 1_usize..6,
        seed: u64,
    ) {
        let clear = |acts: &mut Vec<Act>, permille: usize| {
            acts.extend([Act::Pause(permille as u32 / 20), send("Clear"), Act::Answered]);
        };
        let (mut acts, spoken) = acts(&turns, clear);
        // A turn that a Clear takes back has no other answer: only the Cleared is waited for.
        acts.retain(|act| *act != Act::Answered);
        let model = Model { chunk, eager, variant, ..MODEL };
        let run = run(&Plan { model, pace, seed, ..plan(1, acts, faults) });
        prop_assert_eq!(run.joins(), 0);
        let cleared = turns.iter().filter(|turn| turn.cut.is_some()).count();
        prop_assert_eq!(run.said("Cleared").len(), cleared);
        prop_assert_eq!(run.said("Metadata").len(), 1);
        check_cleared(&run, &turns, &spoken)?;
        for kind in [vec!["Flushed", "Cleared"], vec!["Flushed"]] {
            let numbers: Vec<u64> = run.heard.iter().filter_map(|heard| match heard {
                Heard::Said(value) if kind.iter().any(|kind| value["type"] == *kind) => {
                    value["sequence_id"].as_u64()
                }
                Heard::Said(_) | Heard::Audio(_) => None,
            }).collect();
            let rising = numbers.windows(2).all(|pair| pair[0] < pair[1]);
            prop_assert!(rising || (variant && kind.len() > 1), "{:?}", numbers);
        }
    }

    #[test]
    fn flux_says_every_turn_once(
        turns in prop::collection::vec(turn(), 1..5),
        faults in faults(6, 40),
        model in model(),
        pace in 1_usize..6,
        opening in 0_u32..8,
        seed: u64,
    ) {
        let (acts, spoken) = acts(&turns, |_, _| {});
        let model = Model { header: false, ..model };
        let run = run(&Plan { model, pace, opening, seed, ..plan(2, acts, faults) });
        prop_assert_eq!(run.joins(), 0);
        check_flux(&run, &spoken);
    }

    #[test]
    fn flux_is_interrupted_where_it_was_heard(
        turns in prop::collection::vec(turn(), 1..5),
        faults in faults(6, 40),
        chunk in 1_usize..400,
        variant: bool,
        pace in 1_usize..4,
        seed: u64,
    ) {
        let interrupt = |acts: &mut Vec<Act>, permille: usize| {
            acts.extend([Act::Hear(160), Act::Interrupt { permille }, Act::Answered]);
        };
        let (mut acts, _) = acts(&turns, interrupt);
        // One turn at a time, so that it is clear which one is interrupted.
        let mut single = Vec::new();
        for act in acts.drain(..) {
            let flush = act == send("Flush");
            single.push(act);
            if flush {
                single.push(Act::Pause(0));
            }
        }
        for at in (0..single.len()).rev() {
            if matches!(single[at], Act::Send(ref value) if value["type"] == "Flush")
                && !single[at..].iter().take(4).any(|act| matches!(act, Act::Hear(_)))
            {
                single.insert(at + 1, Act::Answered);
            }
        }
        let model = Model { chunk, variant, ..MODEL };
        let run = run(&Plan { model, pace, seed, ..plan(2, single, faults) });
        prop_assert_eq!(run.joins(), 0);
        check_interrupts(&run, turns.iter().filter(|turn| turn.cut.is_some()).count());
    }
}

/// Checks that turns are said whole if no Clear followed, else from their start on, and that
/// nothing of them follows their Cleared.
fn check_cleared(
    run: &Run,
    turns: &[TurnPlan],
    spoken: &[Vec<usize>],
) -> Result<(), TestCaseError> {
    // What was heard from one Cleared to the next. The Clear at the end of each may take some of it
    // back.
    let mut heard: Vec<Vec<u8>> = vec![Vec::new()];
    for message in &run.heard {
        match message {
            Heard::Audio(bytes) => heard.last_mut().unwrap().extend_from_slice(bytes),
            Heard::Said(value) if value["type"] == "Cleared" => heard.push(Vec::new()),
            Heard::Said(_) => {}
        }
    }
    let mut groups: Vec<Vec<usize>> = vec![Vec::new()];
    for (turn, words) in turns.iter().zip(spoken) {
        groups.last_mut().unwrap().extend(words);
        if turn.cut.is_some() {
            groups.push(Vec::new());
        }
    }
    for (index, (audio, group)) in heard.iter().zip(&groups).enumerate() {
        let all: Vec<u8> = group
            .iter()
            .flat_map(|word| (*word as u16).to_le_bytes().repeat(8 * millis_of(*word)))
            .collect();
        if index + 1 == groups.len() {
            prop_assert_eq!(audio, &all, "what no Clear followed");
        } else {
            prop_assert!(all.starts_with(audio), "in order, from the start");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(400), max_shrink_iters: 100, ..ProptestConfig::default() })]

    #[test]
    fn another_synthesis_loses_no_word(
        turns in prop::collection::vec(1_usize..9, 1..4),
        faults in faults(4, 60),
        mulaw: bool,
        seed: u64,
        chunk in 100_usize..3000,
    ) {
        let voice = if mulaw { Voice::Mulaw } else { Voice::Tones };
        let run = other_voice(voice, &turns, faults, seed, chunk);
        check_other_voice(voice, &run, turns.iter().sum());
    }
}
