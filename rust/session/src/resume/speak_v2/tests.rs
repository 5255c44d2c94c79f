//! The messages of a turn over several legs.

use super::*;
use crate::journal::Item;

struct Session {
    speak: SpeakV2,
    journal: Journal,
    leg: LegView,
    inbox: Inbox,
}

impl Session {
    fn new(messages: &[&'static str]) -> Self {
        let mut session = Self {
            speak: SpeakV2::new(&Target {
                path: "v2/speak",
                query: "encoding=linear16&sample_rate=8000",
            }),
            journal: Journal::new(),
            leg: LegView::default(),
            inbox: Inbox::default(),
        };
        session.ask(messages);
        session.leg(0);
        session
    }

    fn ask(&mut self, messages: &[&'static str]) {
        for message in messages {
            let frame = Frame::from(*message);
            self.speak.ask(Control::Other, &self.journal, &frame);
            self.journal.push_control(Control::Other, frame);
        }
    }

    /// Starts a leg and sends what may be sent; what it got.
    fn leg(&mut self, number: u64) -> Vec<String> {
        let start = self.speak.begin_leg(number, &mut self.journal);
        self.leg = start.view;
        let mut got: Vec<Frame> = start.head;
        let mut cursor = start.cursor;
        while let Some(Item::Control { number, frame, .. }) = self.journal.take(&mut cursor) {
            if !self.speak.may_send(&self.leg, number) {
                break;
            }
            got.push(self.speak.send(&self.leg, Control::Other, number, frame));
        }
        got.iter()
            .map(|frame| frame.as_str().unwrap().to_owned())
            .collect()
    }

    fn hear(&mut self, frame: &Frame) -> Vec<Frame> {
        let (leg, journal) = (&mut self.leg, &mut self.journal);
        self.speak
            .receive(Incoming::new(leg, journal, frame, &mut self.inbox));
        std::iter::from_fn(|| self.inbox.pop()).collect()
    }

    fn say(&mut self, text: impl Into<String>) -> Vec<String> {
        let frames = self.hear(&Frame::from(text.into()));
        frames
            .iter()
            .map(|frame| frame.as_str().unwrap().to_owned())
            .collect()
    }

    /// Ten milliseconds are 160 bytes.
    fn sound(&mut self, millis: usize) {
        self.hear(&Frame::Binary(vec![5; 16 * millis].into()));
    }

    fn turn(&mut self, name: &str, millis: usize) {
        self.say(format!(
            r#"{{"type":"SpeechStarted","speech_id":"{name}"}}"#
        ));
        self.sound(millis);
        self.say(format!(r#"{{"type":"Flushed","speech_id":"{name}"}}"#));
        self.say(format!(
            r#"{{"type":"SpeechMetadata","speech_id":"{name}","audio_duration_ms":{millis},"input_character_count":5,"billable_character_count":4}}"#
        ));
    }
}

const SPEAK: &str = r#"{"type":"Speak","text":"a"}"#;
const FLUSH: &str = r#"{"type":"Flush"}"#;
const INTERRUPT: &str = r#"{"type":"Interrupt","playback_offset":{"type":"time_ms","value":130}}"#;

#[test]
fn an_interrupt_waits_for_what_was_heard() {
    let mut session = Session::new(&[SPEAK, FLUSH, SPEAK, FLUSH]);
    session.turn("a", 100);
    session.say(r#"{"type":"SpeechStarted","speech_id":"b"}"#);
    session.sound(50);
    session.ask(&[INTERRUPT]);
    assert_eq!(
        session.leg(1),
        [SPEAK, FLUSH],
        "there is nothing to interrupt yet"
    );
    assert!(
        session
            .say(r#"{"type":"SpeechStarted","speech_id":"c"}"#)
            .is_empty()
    );
    session.sound(29);
    let interrupt = session.speak.interrupts.oldest();
    assert!(!session.speak.may_send(&session.leg, interrupt));
    session.sound(1);
    assert!(session.speak.may_send(&session.leg, interrupt));
    let sent = session.speak.send(
        &session.leg,
        Control::Other,
        interrupt,
        Frame::from(INTERRUPT),
    );
    assert!(
        sent.as_str().unwrap().contains(r#""value":30}"#),
        "of this leg"
    );
    let answer = session.say(
        r#"{"type":"SpeechInterrupted","audio_played_ms":30,"text_spoken":"x","metadata":{"speech_id":"c"}}"#,
    );
    let expected = r#"{"type":"SpeechInterrupted","audio_played_ms":130,"text_spoken":"x","metadata":{"speech_id":"b"}}"#;
    assert_eq!(answer, [expected]);
    assert!(session.speak.all_acked(0) && !session.speak.owes());
}

#[test]
fn an_interrupt_does_not_meet_a_turn_that_was_over() {
    let mut session = Session::new(&[SPEAK, FLUSH]);
    session.say(r#"{"type":"SpeechStarted","speech_id":"a"}"#);
    session.sound(200);
    session.say(r#"{"type":"SpeechMetadata","speech_id":"a","audio_duration_ms":200}"#);
    session.ask(&[INTERRUPT]);
    // The turn is said again for its Flushed alone.
    assert_eq!(session.leg(1), [SPEAK, FLUSH]);
    let interrupt = session.speak.interrupts.oldest();
    session.say(r#"{"type":"SpeechStarted","speech_id":"b"}"#);
    session.sound(200);
    assert!(!session.speak.may_send(&session.leg, interrupt));
    session.say(r#"{"type":"SpeechMetadata","speech_id":"b","audio_duration_ms":200}"#);
    assert!(session.speak.may_send(&session.leg, interrupt));
}

#[test]
fn sums_go_on() {
    let mut session = Session::new(&[SPEAK, FLUSH, SPEAK, FLUSH]);
    session.turn("a", 100);
    session.leg(1);
    session.turn("b", 20);
    session.leg.sends_close();
    let sums = |audio, input, billed| {
        format!(
            r#"{{"type":"SessionMetadata","total_audio_duration_ms":{audio},"total_input_character_count":{input},"total_billable_character_count":{billed}}}"#
        )
    };
    assert_eq!(session.say(sums(20, 5, 4)), [sums(120, 10, 8)]);
    assert!(session.speak.answered(&session.leg, &session.journal));
}

#[test]
fn sums_before_the_close_are_a_leg_s_own() {
    let mut session = Session::new(&[]);
    assert!(session.say(r#"{"type":"SessionMetadata"}"#).is_empty());
    assert!(!session.speak.answered(&session.leg, &session.journal));
}

#[test]
fn settings_head_a_leg_when_nothing_before_them_is_said_again() {
    let mut session = Session::new(&[SPEAK, FLUSH, r#"{"type":"Configure","speed":0.8}"#]);
    let accepted = r#"{"type":"ConfigureSuccess","applied":{"speed":0.8}}"#;
    assert_eq!(session.say(accepted).len(), 1);
    let in_place = [SPEAK, FLUSH, r#"{"type":"Configure","speed":0.8}"#];
    assert_eq!(
        session.leg(1),
        in_place,
        "the text was said at the speed before"
    );
    assert!(session.say(accepted).is_empty(), "known");
    session.turn("a", 10);
    let head = session.leg(2);
    assert_eq!(head.len(), 1);
    assert!(head[0].contains(r#""speed":0.8"#) && head[0].contains("Configure"));
    assert!(session.say(accepted).is_empty(), "it was not asked for");
    session.ask(&[r#"{"type":"Configure","speed":9}"#]);
    assert_eq!(session.leg(3).len(), 2);
    assert!(session.say(accepted).is_empty());
    assert_eq!(
        session
            .say(r#"{"type":"ConfigureFailure","code":"X"}"#)
            .len(),
        1
    );
    assert_eq!(session.leg(4).len(), 1, "what was refused is forgotten");
}

#[test]
fn a_turn_is_kept_until_it_has_both_its_ends() {
    let metadata = r#"{"type":"SpeechMetadata","speech_id":"a","audio_duration_ms":1}"#;
    let flushed = r#"{"type":"Flushed","speech_id":"a"}"#;
    for (first, second) in [(metadata, flushed), (flushed, metadata)] {
        let mut session = Session::new(&[SPEAK, FLUSH]);
        session.say(r#"{"type":"SpeechStarted","speech_id":"a"}"#);
        assert_eq!(session.say(first).len(), 1);
        assert_eq!(session.leg(1), [SPEAK, FLUSH]);
        assert!(session.say(first).is_empty(), "known");
        assert_eq!(session.say(second).len(), 1);
        assert!(session.leg(2).is_empty());
    }
}

#[test]
fn refusals_settle_what_they_refuse() {
    let mut session = Session::new(&[FLUSH, INTERRUPT, INTERRUPT, SPEAK]);
    let warning = |code: &str| format!(r#"{{"type":"Warning","code":"{code}"}}"#);
    assert_eq!(session.say(warning("NO_ACTIVE_SPEECH")).len(), 1);
    assert_eq!(session.say(warning("INTERRUPT_IN_PROGRESS")).len(), 1);
    assert_eq!(session.say(warning("NO_AUDIO_GENERATED")).len(), 1);
    assert_eq!(session.leg(1), [SPEAK]);
    assert_eq!(session.say(warning("SYNTHESIS_RETRYING")).len(), 1);
    assert!(
        session.say(warning("SYNTHESIS_RETRYING")).is_empty(),
        "said in this turn"
    );
}

#[test]
fn a_clock_that_makes_no_sense_is_passed_on() {
    for played in ["-9223372036854775808", "9223372036854775807", "1e9", "null"] {
        let mut session = Session::new(&[SPEAK, INTERRUPT]);
        session.leg(1);
        session.sound(10);
        let answer = format!(r#"{{"type":"SpeechInterrupted","audio_played_ms":{played}}}"#);
        assert_eq!(session.say(answer.clone()), [answer]);
        session.turn("b", 10);
    }
    let mut session = Session::new(&[SPEAK]);
    session.sound(10);
    session.ask(&[
        r#"{"type":"Interrupt","playback_offset":{"type":"time_ms","value":-9223372036854775808}}"#,
    ]);
    session.leg(1);
    session.sound(10);
    let frame = Frame::from(INTERRUPT);
    let number = session.speak.interrupts.oldest();
    assert!(session.speak.may_send(&session.leg, number));
    // Nothing overflows.
    let _ = session
        .speak
        .send(&session.leg, Control::Other, number, frame);
}

#[test]
fn text_behind_an_interrupt_is_another_turn() {
    let mut session = Session::new(&[SPEAK, INTERRUPT, SPEAK, FLUSH]);
    session.say(r#"{"type":"SpeechStarted","speech_id":"a"}"#);
    session.sound(200);
    session
        .say(r#"{"type":"SpeechInterrupted","audio_played_ms":130,"metadata":{"speech_id":"a"}}"#);
    assert_eq!(session.leg(1), [SPEAK, FLUSH]);
    let started = r#"{"type":"SpeechStarted","speech_id":"b"}"#;
    assert_eq!(session.say(started), [started], "a turn of its own");
    assert_eq!(session.speak.clock.turn_start(), 130_000);
}
