//! Generated sessions with Nova whose legs fail. In every case the application sees one
//! conversation, or gets an exact report of what is missing.

// Simulated audio is a few minutes long: every count is exact as a double, and not negative.
#[allow(clippy::cast_precision_loss, clippy::cast_sign_loss)]
mod nova;
mod simulator;

use std::time::Duration;

use dgsm_session::Settings;
use nova::server::{Habits, Wrapping};
use nova::{Plan, play};
use proptest::prelude::*;
use simulator::{CloseFault, Fault, FaultKind, few_model_errors};

fn habits() -> impl Strategy<Value = Habits> {
    (
        prop_oneof![Just(8000_u32), Just(16000), Just(22050), Just(44100)],
        1..=2_usize,
        prop_oneof![
            4 => Just(Wrapping::Raw),
            1 => Just(Wrapping::Wav { sized: true }),
            1 => Just(Wrapping::Wav { sized: false }),
            1 => Just(Wrapping::EarlyWav),
            1 => Just(Wrapping::Ogg),
        ],
        prop::collection::vec(1..8_u64, 1..5),
        [0..8_u64, 0..8_u64],
        any::<bool>(),
        any::<bool>(),
        prop_oneof![
            Just((1000, 1000)),
            (1..12_u64, 4..9_u64).prop_map(|(q, pause)| (q, q + pause))
        ],
    )
        .prop_map(
            |(rate, channels, wrapping, windows, lateness, interims, full_precision, speech)| {
                Habits {
                    rate,
                    channels,
                    wrapping,
                    // Words of about 10 ms keep the audio small.
                    word: u64::from(rate) / 100 + 1,
                    windows,
                    lateness,
                    interims,
                    full_precision,
                    speech,
                }
            },
        )
}

fn fault() -> impl Strategy<Value = Fault> {
    (
        prop_oneof![
            Just(FaultKind::Reset),
            Just(FaultKind::Dropped),
            Just(FaultKind::GoAway),
            Just(FaultKind::EarlyEnd),
            Just(FaultKind::EarlyEndAnswered),
            Just(FaultKind::ModelError),
            Just(FaultKind::ServiceFailure),
            Just(FaultKind::Mute),
            Just(FaultKind::Draining),
        ],
        prop_oneof![1 => Just(0), 3 => 0..60_u64],
        any::<bool>(),
        prop_oneof![3 => Just(0), 1 => 0..3_u32],
    )
        .prop_map(|(kind, after, before_results, open_failures)| Fault {
            kind,
            after,
            said: if before_results { 0 } else { usize::MAX },
            open_failures,
        })
}

fn close_fault() -> impl Strategy<Value = CloseFault> {
    let kind = prop_oneof![
        Just(FaultKind::Reset),
        Just(FaultKind::EarlyEnd),
        Just(FaultKind::Normal),
    ];
    (0..3_usize, kind).prop_map(|(said, kind)| CloseFault { kind, said })
}

/// None, several different ones, or the same one several times.
fn close_faults() -> impl Strategy<Value = Vec<CloseFault>> {
    prop_oneof![
        3 => Just(vec![]),
        1 => prop::collection::vec(close_fault(), 0..8),
        1 => (close_fault(), 1..=8_usize).prop_map(|(fault, times)| vec![fault; times]),
    ]
}

fn settings() -> impl Strategy<Value = Settings> {
    (
        prop_oneof![3 => Just(None), 1 => (100..800_u64).prop_map(Some)],
        prop_oneof![Just(Some(4.0)), Just(Some(1.0)), Just(None)],
        prop_oneof![4 => Just(8 << 20), 1 => Just(0), 2 => 256..32_768_usize],
        prop_oneof![3 => Just(None), 1 => (20..500_u64).prop_map(Some)],
        prop_oneof![Just(vec![0]), Just(vec![0, 0]), Just(vec![0, 1, 0])],
    )
        .prop_map(
            |(age, replay_speed, max_replay_buffer_bytes, keepalive, endpoints)| Settings {
                endpoints,
                max_leg_age: age.map(Duration::from_millis),
                stall_timeout: Some(Duration::from_millis(400)),
                replay_speed,
                max_replay_buffer_bytes,
                keepalive_interval: keepalive.map(Duration::from_millis),
                initial_backoff: Duration::from_millis(20),
                max_backoff: Duration::from_millis(200),
                // Faults without end are another test's. Here every plan can be played to its end.
                max_retries: 100,
                retry_budget: Duration::from_secs(600),
                close_timeout: Duration::from_secs(120),
                ..Settings::default()
            },
        )
}

fn plan() -> impl Strategy<Value = Plan> {
    (
        (
            habits(),
            1..120_u64,
            0..50_u64,
            prop::collection::vec(40..3000_usize, 1..6),
        ),
        (any::<bool>(), prop::collection::vec(fault(), 0..8)),
        (
            close_faults(),
            prop_oneof![2 => Just(vec![]), 1 => prop::collection::vec(0..120_u64, 0..4)],
        ),
        (0..6_u64, 0..10_u32, settings(), any::<bool>(), any::<u64>()),
    )
        .prop_map(
            |(
                (habits, words, rest, chunks),
                (live, faults),
                (close_faults, finalizes),
                (delay, opening, settings, finish, seed),
            )| {
                let ogg = habits.wrapping == Wrapping::Ogg;
                let mut settings = settings;
                if ogg {
                    // A session that has outgrown its journal cannot go on, which is another
                    // test's.
                    settings.max_replay_buffer_bytes = 8 << 20;
                }
                Plan {
                    words,
                    rest: rest.min(habits.word - 1),
                    chunks,
                    live,
                    faults: few_model_errors(faults),
                    close_faults,
                    lies: Vec::new(),
                    finalizes,
                    delay,
                    opening,
                    settings,
                    finish,
                    seed,
                    habits,
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(2500),
        failure_persistence: None,
        max_shrink_iters: 1000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn one_conversation_whatever_happens(plan in plan()) {
        play(&plan).check(&plan);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(500),
        failure_persistence: None,
        max_shrink_iters: 1000,
        ..ProptestConfig::default()
    })]

    /// Each leg works on while the next one replays everything.
    #[test]
    fn other_audio_goes_on_over_legs_that_hear_it_all(mut plan in plan(), age in 20..400_u64) {
        plan.habits.wrapping = Wrapping::Ogg;
        plan.settings.max_replay_buffer_bytes = 8 << 20;
        plan.settings.max_leg_age = Some(Duration::from_millis(age));
        plan.live = true;
        play(&plan).check(&plan);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(1000),
        failure_persistence: None,
        max_shrink_iters: 1000,
        ..ProptestConfig::default()
    })]

    /// Claims about audio that the service cannot have heard lose nothing of the rest.
    #[test]
    fn false_claims_lose_no_word(
        mut plan in plan(),
        lies in prop::collection::vec(0..40_usize, 1..4),
    ) {
        prop_assume!(plan.habits.wrapping != Wrapping::Ogg);
        plan.settings.max_replay_buffer_bytes = 8 << 20;
        plan.lies = lies;
        play(&plan).check_words(&plan);
    }
}

/// A plan in which nothing goes wrong.
fn plain() -> Plan {
    Plan {
        habits: Habits {
            rate: 8000,
            channels: 1,
            wrapping: Wrapping::Raw,
            word: 81,
            windows: vec![1],
            lateness: [0, 0],
            interims: false,
            speech: (1000, 1000),
            full_precision: false,
        },
        words: 40,
        rest: 0,
        chunks: vec![40],
        live: false,
        faults: Vec::new(),
        close_faults: Vec::new(),
        lies: Vec::new(),
        finalizes: Vec::new(),
        delay: 0,
        opening: 0,
        settings: Settings {
            max_leg_age: None,
            stall_timeout: Some(Duration::from_millis(400)),
            initial_backoff: Duration::from_millis(20),
            max_retries: 100,
            close_timeout: Duration::from_secs(120),
            ..Settings::default()
        },
        finish: false,
        seed: 0,
    }
}

fn fault_after(kind: FaultKind, after: u64) -> Fault {
    Fault {
        kind,
        after,
        said: usize::MAX,
        open_failures: 0,
    }
}

/// The leg is reset before it answers CloseStream.
const CUT_SHORT: CloseFault = CloseFault {
    said: 0,
    kind: FaultKind::Reset,
};

fn check(plan: &Plan) {
    play(plan).check(plan);
}

#[test]
fn other_audio_rolls_over() {
    let mut plan = plain();
    plan.habits.wrapping = Wrapping::Ogg;
    plan.words = 200;
    plan.live = true;
    plan.settings.max_leg_age = Some(Duration::from_millis(200));
    let run = play(&plan);
    run.check(&plan);
    assert!(run.stats.rollovers >= 5, "{:?}", run.stats);
    assert!(run.stats.resets.is_empty());
}

// Failures that generated sessions have found.

#[test]
fn a_leg_ends_by_itself_as_the_session_leaves_it() {
    let mut plan = plain();
    plan.habits.wrapping = Wrapping::Ogg;
    plan.habits.channels = 2;
    plan.words = 15;
    plan.live = true;
    plan.delay = 4;
    plan.opening = 3;
    plan.faults = vec![
        fault_after(FaultKind::Reset, 14),
        fault_after(FaultKind::EarlyEnd, 0),
    ];
    plan.settings.max_leg_age = Some(Duration::from_millis(78));
    plan.settings.replay_speed = None;
    plan.seed = 7_883_378_781_441_443_503;
    check(&plan);
}

#[test]
fn the_parts_of_a_final_are_not_forgotten_when_the_old_leg_fails() {
    let mut plan = plain();
    plan.habits.wrapping = Wrapping::Ogg;
    plan.habits.windows = vec![5];
    plan.habits.lateness = [4, 0];
    plan.words = 22;
    plan.live = true;
    plan.faults = vec![fault_after(FaultKind::Mute, 0)];
    plan.finalizes = vec![1];
    plan.settings.max_leg_age = Some(Duration::from_millis(20));
    check(&plan);
}

#[test]
fn speech_that_starts_behind_a_final_is_not_forgotten_with_it() {
    let mut plan = plain();
    plan.habits = Habits {
        channels: 2,
        wrapping: Wrapping::Ogg,
        lateness: [3, 2],
        speech: (11, 16),
        ..plan.habits
    };
    plan.words = 88;
    plan.live = true;
    plan.chunks = vec![356, 361, 44];
    plan.faults = vec![
        fault_after(FaultKind::Mute, 48),
        fault_after(FaultKind::Mute, 31),
        fault_after(FaultKind::Reset, 0),
    ];
    plan.finalizes = vec![79];
    plan.opening = 8;
    plan.settings.replay_speed = None;
    plan.settings.max_backoff = Duration::from_millis(200);
    plan.settings.max_leg_age = Some(Duration::from_millis(45));
    plan.seed = 15_639_135_098_056_351_311;
    check(&plan);
}

#[test]
fn an_empty_answer_to_finalize_is_no_pause() {
    let mut plan = plain();
    plan.habits.windows = vec![7, 7, 1];
    plan.words = 45;
    plan.live = true;
    plan.finalizes = vec![22];
    for seed in 0..20 {
        plan.settings.max_leg_age = Some(Duration::from_millis(100 + 2 * seed));
        plan.seed = seed;
        check(&plan);
    }
}

#[test]
fn a_final_as_short_as_a_rounding_is_not_delivered() {
    let mut plan = plain();
    plan.habits = Habits {
        rate: 22050,
        channels: 2,
        word: 221,
        windows: vec![2, 1, 2, 3],
        lateness: [2, 6],
        speech: (5, 10),
        ..plan.habits
    };
    plan.words = 76;
    plan.chunks = vec![40, 1012, 1424];
    plan.faults = [13, 9, 25]
        .map(|words| fault_after(FaultKind::Reset, words))
        .into();
    plan.finalizes = vec![17];
    check(&plan);
}

#[test]
fn speech_starts_on_channels_without_a_result() {
    let mut plan = plain();
    plan.habits.channels = 2;
    plan.habits.windows = vec![4];
    plan.habits.lateness = [0, 6];
    plan.words = 1;
    plan.close_faults = vec![CUT_SHORT];
    check(&plan);
}

#[test]
fn speech_starts_again_before_results_close_what_was_open() {
    let mut plan = plain();
    plan.habits.lateness = [4, 0];
    plan.habits.speech = (1, 5);
    plan.words = 21;
    plan.faults = vec![fault_after(FaultKind::Reset, 1)];
    check(&plan);
}

#[test]
fn a_leg_starts_with_a_whole_block_behind_what_was_evicted() {
    let mut plan = plain();
    plan.chunks = vec![249];
    plan.live = true;
    plan.settings.max_replay_buffer_bytes = 0;
    plan.faults = vec![fault_after(FaultKind::Reset, 0)];
    check(&plan);
}

#[test]
fn half_a_block_is_lost_once() {
    let mut plan = plain();
    plan.habits.wrapping = Wrapping::Wav { sized: true };
    plan.words = 10;
    plan.rest = 10;
    plan.chunks = vec![142, 43];
    plan.settings.max_replay_buffer_bytes = 0;
    plan.faults = vec![
        fault_after(FaultKind::Reset, 0),
        fault_after(FaultKind::Reset, 0),
    ];
    check(&plan);
}

#[test]
fn a_close_that_was_not_sent_is_not_forgotten() {
    let mut plan = plain();
    plan.habits.wrapping = Wrapping::Wav { sized: true };
    plan.words = 19;
    plan.settings.max_replay_buffer_bytes = 0;
    plan.faults = vec![
        fault_after(FaultKind::Mute, 0),
        fault_after(FaultKind::EarlyEnd, 0),
    ];
    check(&plan);
}

#[test]
fn times_are_rounded_once() {
    let mut plan = plain();
    plan.habits = Habits {
        rate: 44100,
        word: 442,
        windows: vec![3, 5],
        full_precision: true,
        ..plan.habits
    };
    plan.words = 54;
    plan.chunks = vec![2042, 1458, 1527, 1696];
    plan.settings.max_replay_buffer_bytes = 0;
    plan.faults = vec![
        fault_after(FaultKind::Reset, 44),
        fault_after(FaultKind::Reset, 8),
    ];
    check(&plan);
}

#[test]
fn speech_that_starts_while_another_leg_takes_over_starts_once() {
    let mut plan = plain();
    plan.habits = Habits {
        rate: 22_050,
        channels: 2,
        word: 221,
        windows: vec![4, 2],
        lateness: [5, 0],
        speech: (2, 6),
        ..plan.habits
    };
    plan.words = 41;
    plan.live = true;
    plan.faults = vec![fault_after(FaultKind::Draining, 37)];
    plan.close_faults = vec![CUT_SHORT; 2];
    plan.delay = 4;
    plan.opening = 1;
    check(&plan);
}

#[test]
fn a_false_claim_ends_with_its_last_word_rounded_or_not() {
    let mut plan = plain();
    plan.habits = Habits {
        rate: 16000,
        word: 161,
        windows: vec![1, 2, 7],
        lateness: [2, 0],
        ..plan.habits
    };
    plan.words = 14;
    plan.faults = [6, 0]
        .map(|words| fault_after(FaultKind::Reset, words))
        .into();
    plan.close_faults = vec![CloseFault {
        said: 2,
        ..CUT_SHORT
    }];
    plan.lies = vec![5];
    play(&plan).check_words(&plan);
}

#[test]
fn audio_that_a_header_does_not_declare_is_lost_as_well() {
    let mut plan = plain();
    plan.habits.wrapping = Wrapping::EarlyWav;
    plan.words = 17;
    plan.chunks = vec![78];
    plan.settings.max_replay_buffer_bytes = 0;
    plan.faults = vec![fault_after(FaultKind::Mute, 0)];
    check(&plan);
}

#[test]
fn audio_after_a_loss_behind_a_declared_end_is_waited_for() {
    let mut plan = plain();
    plan.habits.wrapping = Wrapping::EarlyWav;
    plan.habits.channels = 2;
    plan.habits.windows = vec![2];
    plan.habits.lateness = [1, 1];
    plan.words = 2;
    plan.rest = 34;
    plan.opening = 4;
    plan.settings.max_replay_buffer_bytes = 256;
    plan.close_faults = vec![CUT_SHORT; 2];
    check(&plan);
}
