//! The voice agent over legs that fail: one conversation, which each new leg knows.

mod agent;
mod simulator;
#[allow(dead_code, reason = "each test file uses its part of the stage")]
mod stage;

use std::ops::Range;
use std::time::Duration;

use agent::{Agent, END, RATE, WINDOW};
use dgsm_leg::end::LegEnd;
use dgsm_leg::frame::Frame;
use dgsm_session::{LegId, Level, Settings};
use proptest::prelude::*;
use serde_json::{Value, json};
use simulator::{Fault, FaultKind, Plan, Run, few_model_errors, patient, play};
use stage::{RESET, Stage, settings};

/// A conversation with the agent.
#[derive(Clone, Debug)]
struct Talk {
    /// Windows in which the user speaks.
    speech: Vec<Range<u64>>,
    windows: u64,
    /// Samples a chunk, in a cycle.
    chunks: Vec<usize>,
    /// Windows after which the user writes instead of speaking.
    written: Vec<u64>,
    /// Windows after which the prompt changes.
    prompts: Vec<u64>,
    greeting: bool,
    plan: Plan,
}

impl Talk {
    fn play(&self) -> Run<Agent> {
        let mut plan = self.plan.clone();
        plan.script = self.script();
        play(&plan, &|_| Agent::new(&self.speech))
    }

    fn script(&self) -> Vec<(Duration, Frame)> {
        let mut settings = json!({
            "type": "Settings",
            "audio": {"input": {"encoding": "linear32", "sample_rate": RATE}},
            "agent": {"think": {"prompt": 0}},
        });
        if self.greeting {
            settings["agent"]["greeting"] = "Hello.".into();
        }
        let mut script = vec![(Duration::ZERO, Frame::from(settings.to_string()))];
        let mut controls: Vec<(usize, Value)> = Vec::new();
        let place = |window: u64| (window * WINDOW) as usize;
        for (at, number) in self.written.iter().zip(0..) {
            let content = format!("written {number}");
            controls.push((
                place(*at),
                json!({"type": "InjectUserMessage", "content": content}),
            ));
        }
        for (at, number) in self.prompts.iter().zip(1..) {
            controls.push((
                place(*at),
                json!({"type": "UpdatePrompt", "prompt": number}),
            ));
        }
        controls.sort_by_key(|(at, _)| *at);
        let mut controls = controls.into_iter().peekable();
        let samples: Vec<[u8; 4]> = (0..place(self.windows) as u32)
            .map(u32::to_le_bytes)
            .collect();
        let due = |at: usize| Duration::from_millis(at as u64 * 1000 / u64::from(RATE));
        let mut sizes = self.chunks.iter().cycle();
        let mut at = 0;
        while at < samples.len() {
            let next = controls.peek().map_or(samples.len(), |(place, _)| *place);
            let end = (at + sizes.next().unwrap())
                .min(samples.len())
                .min(next.max(at));
            if end > at {
                script.push((due(end), Frame::Binary(samples[at..end].concat().into())));
            }
            at = end;
            while let Some((_, message)) = controls.next_if(|(place, _)| *place <= at) {
                script.push((due(at), Frame::from(message.to_string())));
            }
        }
        script
    }

    /// Returns the texts that the user speaks and writes, in the server's words.
    fn texts(&self) -> Vec<String> {
        let spoken = self.speech.iter().map(|stretch| {
            let words: Vec<String> = stretch.clone().map(|word| word.to_string()).collect();
            words.join(" ")
        });
        spoken
            .chain((0..self.written.len()).map(|number| format!("written {number}")))
            .collect()
    }

    fn check(&self, run: &Run<Agent>) {
        let text = |frame: &Frame| {
            frame
                .as_str()
                .map(|text| serde_json::from_str(text).unwrap())
        };
        let messages: Vec<Value> = run.frames.iter().filter_map(text).collect();
        let count = |kind: &str| {
            messages
                .iter()
                .filter(|message| message["type"] == kind)
                .count()
        };
        assert_eq!(
            (count("Welcome"), count("SettingsApplied"), count("Error")),
            (1, 1, 0)
        );
        assert_eq!(count("PromptUpdated"), self.prompts.len());
        let mut users = Vec::new();
        let mut answers: Vec<&str> = Vec::new();
        let mut speaking = false;
        for message in &messages {
            match (message["type"].as_str().unwrap(), message["role"].as_str()) {
                ("ConversationText", Some("user")) => {
                    users.push(message["content"].as_str().unwrap().to_owned());
                }
                ("ConversationText", _) => {
                    speaking = true;
                    answers.extend(message["content"].as_str().unwrap().strip_prefix("re: "));
                }
                ("AgentAudioDone", _) => speaking = false,
                _ => {}
            }
        }
        assert!(!speaking, "the agent ends what it says");
        let mut expected = self.texts();
        expected.sort();
        let mut said = users.clone();
        said.sort();
        assert_eq!(said, expected, "every turn of the user once");
        answers.sort_unstable();
        assert_eq!(answers, expected, "and an answer to it");
        assert!(count("UserStartedSpeaking") >= self.speech.len());
        self.check_legs(run, &messages);
    }

    fn check_legs(&self, run: &Run<Agent>, messages: &[Value]) {
        let texts: Vec<(&Value, &Value)> = messages
            .iter()
            .filter(|message| message["type"] == "ConversationText")
            .map(|message| (&message["role"], &message["content"]))
            .collect();
        for service in run
            .services
            .iter()
            .filter(|service| service.settings.is_some())
        {
            let settings = service.settings.as_ref().unwrap();
            let context = &settings["agent"]["context"]["messages"];
            let context: Vec<(&Value, &Value)> = context
                .as_array()
                .into_iter()
                .flatten()
                .map(|entry| (&entry["role"], &entry["content"]))
                .collect();
            let mut said = texts.iter();
            assert!(
                context.iter().all(|text| said.any(|other| other == text)),
                "{context:?} of {texts:?}"
            );
            for (role, content) in &context {
                let heard = service.texts.iter().any(|text| *content == text);
                assert!(*role != "user" || !heard, "twice: {content}");
            }
            assert_eq!(settings["audio"]["input"]["sample_rate"], RATE);
            let greeted = context.iter().any(|(role, _)| *role == "assistant");
            let greets = settings["agent"].get("greeting").is_some();
            assert_eq!(greets, self.greeting && !greeted);
        }
        let last = run.services.last().unwrap();
        if last.settings.is_some() {
            assert_eq!(last.prompt, self.prompts.len() as u64);
        }
    }
}

/// Turns of the user, with time for an answer between them.
fn talk() -> impl Strategy<Value = Talk> {
    let turns = prop::collection::vec((14..40_u64, 1..8_u64, any::<bool>()), 1..6);
    (
        (
            turns,
            prop::collection::vec(1..400_usize, 1..5),
            any::<bool>(),
        ),
        prop::collection::vec(0..100_u64, 0..3),
        plan(),
    )
        .prop_map(|((turns, chunks, greeting), mut prompts, plan)| {
            let (mut speech, mut written, mut at) = (Vec::new(), Vec::new(), 0);
            for (silence, words, writes) in turns {
                at += silence;
                if writes {
                    written.push(at);
                } else {
                    speech.push(at..at + words);
                    at += words + END;
                }
            }
            let windows = at + 14;
            prompts.sort_unstable();
            prompts.retain(|at| *at < windows);
            Talk {
                speech,
                windows,
                chunks,
                written,
                prompts,
                greeting,
                plan,
            }
        })
}

fn plan() -> impl Strategy<Value = Plan> {
    let kind = prop_oneof![
        2 => Just(FaultKind::Reset),
        1 => Just(FaultKind::Dropped),
        1 => Just(FaultKind::GoAway),
        1 => Just(FaultKind::EarlyEnd),
        1 => Just(FaultKind::ModelError),
        1 => Just(FaultKind::ServiceFailure),
        2 => Just(FaultKind::Draining),
    ];
    let after = prop_oneof![1 => Just(0_u64), 4 => 0..3_000_u64];
    let open_failures = prop_oneof![3 => Just(0), 1 => 0..3_u32];
    let fault =
        (kind, after, 0..4_usize, open_failures).prop_map(|(kind, after, said, open_failures)| {
            Fault {
                kind,
                after,
                said,
                open_failures,
            }
        });
    (
        prop::collection::vec(fault, 0..6),
        (0..3_u64, 0..6_u32, any::<u64>()),
        prop_oneof![Just(Some(4.0)), Just(None)],
    )
        .prop_map(|(faults, (delay, opening, seed), replay_speed)| Plan {
            faults: few_model_errors(faults),
            delay,
            opening,
            seed,
            settings: Settings {
                replay_speed,
                ..patient()
            },
            ..quiet_plan()
        })
}

/// A plan in which nothing goes wrong.
fn quiet_plan() -> Plan {
    Plan {
        live: true,
        finish: true,
        ..Plan::quiet("v1/agent/converse", patient())
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(1000),
        failure_persistence: None,
        max_shrink_iters: 2000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn one_conversation_whatever_happens(talk in talk()) {
        talk.check(&talk.play());
    }
}

/// Three turns, of which the second is written.
fn three_turns() -> Talk {
    Talk {
        speech: vec![20..25, 80..85],
        windows: 120,
        chunks: vec![20],
        written: vec![50],
        prompts: vec![10],
        greeting: true,
        plan: quiet_plan(),
    }
}

fn fault_after(windows: u64) -> Fault {
    Fault {
        kind: FaultKind::Reset,
        after: windows * WINDOW,
        said: 4,
        open_failures: 0,
    }
}

#[test]
fn without_a_fault_everything_is_passed_on_as_it_is() {
    let talk = three_turns();
    let run = talk.play();
    talk.check(&run);
    assert_eq!(run.stats.legs, 1);
    assert_eq!(run.frames, run.first_leg);
    let sent = run.services[0].settings.as_ref().unwrap();
    assert_eq!(
        sent["agent"],
        json!({"think": {"prompt": 0}, "greeting": "Hello."})
    );
}

#[test]
fn audio_since_the_last_answered_turn_is_sent_again() {
    // In the middle of the third turn. The second one was answered.
    let mut talk = three_turns();
    talk.plan.faults = vec![fault_after(83)];
    let run = talk.play();
    talk.check(&run);
    let start = run.services[1].start().unwrap();
    assert!((50 * WINDOW..80 * WINDOW).contains(&start), "{start}");
    assert_eq!(run.services[1].texts, ["80 81 82 83 84"]);
}

#[test]
fn a_turn_without_an_answer_is_heard_again_and_told_once() {
    // The turn has ended and the agent thinks: 25 + 4 windows, and one more.
    let mut talk = three_turns();
    talk.plan.faults = vec![fault_after(30)];
    let run = talk.play();
    talk.check(&run);
    assert_eq!(run.services[0].texts, run.services[1].texts[..1]);
}

#[test]
fn the_agent_s_speech_ends_with_its_leg() {
    // 25 + 4 + 2 windows and a block of sound.
    let mut talk = three_turns();
    talk.plan.faults = vec![fault_after(32)];
    let run = talk.play();
    talk.check(&run);
    let last = run.first_leg.len() - 1;
    assert!(!run.first_leg[last].is_text(), "{:?}", run.first_leg);
    assert_eq!(
        run.frames[last + 1],
        Frame::from(r#"{"type":"AgentAudioDone"}"#)
    );
    assert_eq!(
        run.services[1].controls[1],
        json!({"type": "UpdatePrompt", "prompt": 1})
    );
}

/// A conversation by hand: 1000 bytes of audio a second.
struct Calling {
    stage: Stage,
    leg: LegId,
}

const SETTINGS: &str = r#"{"type":"Settings","audio":{"input":{"encoding":"mulaw","sample_rate":1000}},"agent":{"think":{}}}"#;

impl Calling {
    /// In a turn of two seconds the user has asked for something, and the agent calls a function
    /// for it.
    fn new(functions: &Value) -> Self {
        let mut stage = Stage::at("v1/agent/converse", settings(), "");
        let leg = stage.open();
        stage.text(SETTINGS);
        let mut calling = Self { stage, leg };
        calling.greet();
        calling.turn("What is it?");
        calling.say(&json!({"type": "FunctionCallRequest", "functions": functions}));
        calling
    }

    fn greet(&mut self) {
        self.stage.sent(self.leg);
        self.say(&json!({"type": "Welcome", "request_id": "r"}));
        self.say(&json!({"type": "SettingsApplied"}));
    }

    /// A turn of two seconds with this content.
    fn turn(&mut self, content: &str) {
        self.stage.audio(2000);
        self.stage.sent(self.leg);
        self.say(&json!({"type": "UserStartedSpeaking"}));
        self.say(&json!({"type": "ConversationText", "role": "user", "content": content}));
    }

    fn answer(&mut self, content: &str) {
        self.say(&json!({"type": "ConversationText", "role": "assistant", "content": content}));
        self.say(&json!({"type": "AgentAudioDone"}));
    }

    fn say(&mut self, message: &Value) {
        self.stage.say(self.leg, &message.to_string());
    }

    fn respond(&mut self, id: &str, content: &str) {
        let response = response(id, content).to_string();
        let frame = Frame::from(response);
        self.stage.session.push(self.stage.now, frame).unwrap();
    }

    fn end(&mut self) {
        self.stage.end(self.leg, RESET);
    }

    /// Opens the next leg. Returns the context in its Settings, and what else it is sent.
    fn open(&mut self) -> (Value, Vec<Value>) {
        self.leg = self.stage.open();
        let mut sent = self.sent();
        let settings = sent.remove(0);
        assert_eq!(settings["type"], "Settings");
        self.say(&json!({"type": "Welcome", "request_id": "r"}));
        self.say(&json!({"type": "SettingsApplied"}));
        (settings["agent"]["context"]["messages"].clone(), sent)
    }

    fn sent(&mut self) -> Vec<Value> {
        let sent = self.stage.sent(self.leg);
        sent.iter()
            .map(|text| serde_json::from_str(text).unwrap())
            .collect()
    }

    /// Reads what the application got: ids of calls, or types.
    fn read(&mut self) -> Vec<String> {
        let messages = self.stage.read().into_iter();
        messages
            .map(|message| match message["functions"].as_array() {
                Some(functions) => functions
                    .iter()
                    .map(|function| function["id"].as_str().unwrap())
                    .collect::<Vec<_>>()
                    .join(" "),
                None => message["type"].as_str().unwrap().to_owned(),
            })
            .collect()
    }
}

fn call(id: &str) -> Value {
    call_of(id, "weather", r#"{"city":"Ulm","days":1}"#)
}

fn call_of(id: &str, name: &str, arguments: &str) -> Value {
    json!({"id": id, "name": name, "arguments": arguments, "client_side": true})
}

fn response(id: &str, content: &str) -> Value {
    json!({"type": "FunctionCallResponse", "id": id, "name": "weather", "content": content})
}

fn request(functions: &[Value]) -> Value {
    json!({"type": "FunctionCallRequest", "functions": functions})
}

/// Calls in the form of the history.
fn history(calls: &[(Value, &str)]) -> Value {
    let calls = calls.iter().map(|(call, response)| {
        let mut call = call.clone();
        call["response"] = json!(response);
        call
    });
    json!({"type": "History", "function_calls": calls.collect::<Vec<_>>()})
}

fn asked() -> Value {
    json!({"type": "History", "role": "user", "content": "What is it?"})
}

#[test]
fn the_next_leg_knows_a_call_and_its_response() {
    let mut talk = Calling::new(&json!([call("a")]));
    talk.respond("a", "sunny");
    assert_eq!(talk.sent(), [response("a", "sunny")]);
    talk.stage.audio(500);
    talk.sent();
    talk.end();
    let (context, sent) = talk.open();
    assert_eq!(context, json!([asked(), history(&[(call("a"), "sunny")])]));
    assert_eq!(sent, [500], "neither the turn nor the response");
    talk.read();
    // The arguments are the same with other spacing and in another order.
    let again = call_of("b", "weather", r#"{"days": 1, "city": "Ulm"}"#);
    talk.say(&request(&[again]));
    assert!(talk.read().is_empty(), "it was called");
    assert_eq!(talk.sent(), [response("b", "sunny")]);
    talk.answer("Sunny.");
    assert_eq!(talk.read(), ["ConversationText", "AgentAudioDone"]);
    talk.end();
    let (context, _) = talk.open();
    assert_eq!(context.as_array().unwrap().len(), 3, "{context}");
}

#[test]
fn a_response_between_legs_is_part_of_the_next_one_s_context() {
    let mut talk = Calling::new(&json!([call("a")]));
    talk.end();
    talk.respond("a", "sunny");
    let (context, sent) = talk.open();
    assert_eq!(context, json!([asked(), history(&[(call("a"), "sunny")])]));
    assert!(sent.is_empty(), "{sent:?}");
}

#[test]
fn a_response_that_the_leg_does_not_know_is_not_sent_there() {
    let mut talk = Calling::new(&json!([call("a")]));
    talk.end();
    let (context, _) = talk.open();
    assert_eq!(context, json!([asked(), history(&[(call("a"), "")])]));
    talk.respond("a", "sunny");
    assert!(talk.sent().is_empty());
    talk.say(&request(&[call("b")]));
    assert_eq!(talk.sent(), [response("b", "sunny")], "now it does");
    assert_eq!(talk.read().last().unwrap(), "a", "the only call");
    talk.end();
    let (context, _) = talk.open();
    assert_eq!(context, json!([asked(), history(&[(call("a"), "sunny")])]));
}

#[test]
fn a_response_that_comes_after_the_call_was_repeated_goes_to_that_one() {
    let mut talk = Calling::new(&json!([call("a")]));
    talk.end();
    talk.open();
    talk.read();
    talk.say(&request(&[call("b")]));
    assert!(talk.read().is_empty() && talk.sent().is_empty());
    talk.respond("a", "sunny");
    assert_eq!(talk.sent(), [response("b", "sunny")]);
    talk.say(
        &json!({"type": "FunctionCallCancelled", "functions": [{"id": "b", "name": "weather"}]}),
    );
    assert_eq!(talk.read(), ["a"], "as the application knows it");
    talk.end();
    assert_eq!(talk.open().0, json!([asked()]));
}

#[test]
fn a_call_without_a_response_ends_nothing() {
    let mut talk = Calling::new(&json!([call("a")]));
    for _ in 0..3 {
        talk.end();
        let (context, _) = talk.open();
        assert_eq!(context, json!([asked(), history(&[(call("a"), "")])]));
    }
    talk.turn("Well?");
    talk.answer("I do not know.");
    assert_eq!(talk.read().iter().filter(|read| *read == "a").count(), 1);
    talk.stage.session.finish(talk.stage.now);
    talk.sent_end();
    talk.stage.end(talk.leg, LegEnd::Clean);
    assert_eq!(talk.stage.session.outcome(), dgsm_session::Outcome::Clean);
}

impl Calling {
    fn sent_end(&mut self) {
        assert_eq!(self.stage.sent(self.leg), ["end"]);
    }
}

#[test]
fn each_of_several_functions_is_called_once() {
    let time = call_of("t", "time", "{}");
    let mut talk = Calling::new(&json!([call("a"), time]));
    talk.respond("a", "sunny");
    talk.end();
    let (context, _) = talk.open();
    let known = history(&[(call("a"), "sunny"), (time.clone(), "")]);
    assert_eq!(context, json!([asked(), known]));
    talk.read();
    let other = call_of("o", "weather", r#"{"city":"Bonn"}"#);
    let again = call_of("u", "time", "{}");
    talk.say(&request(&[again, other, call("b")]));
    assert_eq!(talk.read(), ["o"], "the others are known");
    assert_eq!(talk.sent(), [response("b", "sunny")]);
    talk.respond("t", "noon");
    assert_eq!(talk.sent()[0]["id"], "u");
}

#[test]
fn calls_that_the_service_makes_itself_are_delivered_with_a_warning() {
    let mut function = call("a");
    function["client_side"] = false.into();
    let mut talk = Calling::new(&json!([function]));
    talk.say(&json!({"type": "FunctionCallResponse", "name": "weather", "content": "sunny"}));
    talk.end();
    let (context, _) = talk.open();
    assert_eq!(
        context,
        json!([asked(), history(&[(function.clone(), "sunny")])])
    );
    talk.read();
    talk.stage.notices();
    function["id"] = "b".into();
    talk.say(&request(&[function]));
    assert_eq!(talk.read(), ["b"]);
    assert!(talk.sent().is_empty());
    let warned = talk.stage.notices();
    assert!(
        warned.iter().any(|notice| notice.level() == Level::Warning),
        "{warned:?}"
    );
}

#[test]
fn a_call_made_before_its_turn_s_text_is_answered_when_the_turn_is_replayed() {
    let mut talk = Calling::new(&json!([]));
    talk.answer("It is this.");
    talk.stage.audio(1000);
    talk.sent();
    talk.say(&json!({"type": "UserStartedSpeaking"}));
    talk.say(&request(&[call("a")]));
    talk.respond("a", "sunny");
    talk.sent();
    talk.end();
    let (context, sent) = talk.open();
    assert_eq!(context.as_array().unwrap().len(), 3, "{context}");
    assert_eq!(sent, [1000], "the turn's text is not known yet");
    talk.read();
    talk.say(&json!({"type": "UserStartedSpeaking"}));
    talk.say(&request(&[call("b")]));
    assert_eq!(talk.sent(), [response("b", "sunny")]);
    talk.say(&json!({"type": "ConversationText", "role": "user", "content": "And the weather?"}));
    assert_eq!(talk.read(), ["ConversationText"]);
    talk.end();
    let (context, sent) = talk.open();
    let turn = json!({"type": "History", "role": "user", "content": "And the weather?"});
    assert_eq!(context[2], turn, "before what was called for it");
    assert_eq!(context[3]["function_calls"][0]["response"], "sunny");
    assert!(sent.is_empty(), "now it is known: {sent:?}");
}

#[test]
fn the_same_call_in_another_turn_is_another_call() {
    let mut talk = Calling::new(&json!([call("a")]));
    talk.respond("a", "sunny");
    talk.sent();
    talk.answer("Sunny.");
    talk.turn("And now?");
    talk.say(&request(&[call("b")]));
    talk.respond("b", "rainy");
    talk.sent();
    talk.end();
    talk.open();
    // One turn is answered from the context, and one asks again.
    talk.turn("Well?");
    talk.answer("Rainy.");
    talk.read();
    talk.turn("And now?");
    talk.say(&request(&[call("c")]));
    assert_eq!(talk.read().last().unwrap(), "c");
    assert!(talk.sent().is_empty());
}

#[test]
fn an_agent_s_own_history_adds_nothing_twice() {
    let mut talk = Calling::new(&json!([call("a")]));
    talk.say(&history(&[(call("a"), "sunny")]));
    talk.say(&history(&[(call_of("x", "other", "{}"), "1")]));
    talk.end();
    let (context, _) = talk.open();
    let own = history(&[(call_of("x", "other", "{}"), "1")]);
    assert_eq!(
        context,
        json!([asked(), history(&[(call("a"), "sunny")]), own])
    );
}

#[test]
fn responses_reach_the_first_leg_whatever_they_are() {
    let mut talk = Calling::new(&json!([call("a")]));
    let nameless = r#"{"type":"FunctionCallResponse","name":"weather","content":"sunny"}"#;
    let unknown = r#"{"type":"FunctionCallResponse","id":"z","name":"f","content":"1"}"#;
    talk.stage.text(nameless);
    talk.stage.text(unknown);
    assert_eq!(talk.stage.sent(talk.leg), [nameless, unknown]);
    talk.end();
    let (context, sent) = talk.open();
    assert_eq!(context, json!([asked(), history(&[(call("a"), "sunny")])]));
    talk.stage.text(unknown);
    assert!(sent.is_empty() && talk.sent().is_empty());
}

#[test]
fn a_rollover_waits_for_the_result_of_a_call() {
    let mut settings = settings();
    settings.max_leg_age = Some(Duration::from_secs(100));
    let mut talk = Calling::new(&json!([call("a")]));
    talk.stage.session = dgsm_session::Session::new(
        settings,
        &dgsm_session::Target {
            path: "v1/agent/converse",
            query: "",
        },
        7,
    );
    talk.leg = talk.stage.open();
    talk.stage.text(SETTINGS);
    talk.greet();
    talk.turn("What is it?");
    talk.say(&request(&[call("a")]));
    talk.stage.pass(120.0);
    let standby = talk.stage.open();
    talk.stage.pass(1.0);
    talk.respond("a", "sunny");
    assert_eq!(
        talk.sent(),
        [response("a", "sunny")],
        "the leg that called gets it"
    );
    assert!(talk.stage.sent(standby).is_empty());
    talk.answer("Sunny.");
    talk.stage.pass(1.0);
    let sent = talk.stage.sent(standby);
    assert!(
        sent[0].contains("sunny") && sent[0].contains("Sunny."),
        "{sent:?}"
    );
}
