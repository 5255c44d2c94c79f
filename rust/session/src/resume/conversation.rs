//! What heads a voice agent's new leg: its settings, the conversation so far, and the updates
//! since.

use std::collections::VecDeque;

use serde_json::{Map, Value, json};

use dgsm_leg::frame::Frame;

/// How much of the conversation is remembered, in bytes. The oldest goes first.
const MAX_HISTORY: usize = 512 * 1024;

/// A part of the settings that can change during a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// The prompt.
    Prompt,
    /// The voice.
    Speak,
    /// The language model.
    Think,
    /// The language model that speaks first.
    ThinkLive,
    /// The transcription.
    Listen,
}

impl Update {
    /// Returns the update that the application's message asks for.
    #[must_use]
    pub fn asked(kind: &str) -> Option<Self> {
        Some(match kind {
            "UpdatePrompt" => Self::Prompt,
            "UpdateSpeak" => Self::Speak,
            "UpdateThink" => Self::Think,
            "UpdateThink_Live" => Self::ThinkLive,
            "UpdateListen" => Self::Listen,
            _ => return None,
        })
    }

    /// Returns the update that the service's message answers.
    #[must_use]
    pub fn answered(kind: &str) -> Option<Self> {
        Some(match kind {
            "PromptUpdated" => Self::Prompt,
            "SpeakUpdated" => Self::Speak,
            "ThinkUpdated" => Self::Think,
            "ThinkLiveUpdated" => Self::ThinkLive,
            "ListenUpdated" => Self::Listen,
            _ => return None,
        })
    }
}

/// The conversation so far.
#[derive(Debug, Default)]
pub struct Conversation {
    settings: Option<Map<String, Value>>,
    /// Entries of `agent.context.messages`, each with its size in bytes.
    history: VecDeque<(Value, usize)>,
    bytes: usize,
    /// The last accepted update of each sort, in the order of acceptance.
    updates: Vec<(Update, Frame)>,
    /// The agent has said something, so it does not greet again.
    greeted: bool,
}

impl Conversation {
    /// Takes the settings of the application. Only the first ones count: the service refuses
    /// others.
    pub fn settle_on(&mut self, frame: &Frame) -> bool {
        if self.settings.is_some() {
            return false;
        }
        if let Ok(Value::Object(settings)) = serde_json::from_slice(frame.bytes()) {
            self.settings = Some(settings);
        }
        self.settings.is_some()
    }

    /// Returns whether the application has sent its settings.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        self.settings.is_some()
    }

    /// Returns encoding and sample rate of the application's audio, with the service's defaults.
    #[must_use]
    pub fn input(&self) -> (String, u64) {
        let input = self
            .settings
            .as_ref()
            .and_then(|settings| settings.get("audio")?.get("input"));
        let encoding = input.and_then(|input| input.get("encoding")?.as_str());
        let rate = input.and_then(|input| input.get("sample_rate")?.as_u64());
        (
            encoding.unwrap_or("linear16").to_owned(),
            rate.unwrap_or(24_000),
        )
    }

    /// The user or the agent said something.
    pub fn said(&mut self, role: &str, content: &str) {
        self.greeted |= role == "assistant";
        self.remember(
            json!({"type": "History", "role": role, "content": content}),
            content.len() + 64,
        );
    }

    /// The user said something whose text came after the calls that it led to. It goes before them.
    pub fn said_before_calls(&mut self, content: &str) {
        self.said("user", content);
        let calls = self.history.iter().rev().skip(1);
        let calls = calls
            .take_while(|(entry, _)| entry.get("function_calls").is_some())
            .count();
        if let Some(said) = self.history.pop_back() {
            let at = self.history.len() - calls;
            self.history.insert(at, said);
        }
    }

    /// Functions are called: entries of `function_calls`, with their responses where they are
    /// known.
    pub fn called(&mut self, calls: &[Value]) {
        if !calls.is_empty() {
            let entry = json!({"type": "History", "function_calls": calls});
            let bytes = entry.to_string().len();
            self.remember(entry, bytes);
        }
    }

    /// A call has its response.
    pub fn responded(&mut self, id: &str, response: &str) {
        let bytes = &mut self.bytes;
        let known = self.history.iter_mut().rev().find_map(|(entry, size)| {
            let calls = entry.get_mut("function_calls")?.as_array_mut()?;
            let call = calls.iter_mut().find(|call| call["id"] == id)?;
            Some((call, size))
        });
        if let Some((call, size)) = known {
            let before = call["response"].as_str().map_or(0, str::len);
            call["response"] = response.into();
            *bytes = *bytes + response.len() - before;
            *size = *size + response.len() - before;
        }
        self.forget_oldest();
    }

    /// A call is cancelled.
    pub fn cancelled(&mut self, id: &str) {
        for (entry, _) in &mut self.history {
            if let Some(calls) = entry
                .get_mut("function_calls")
                .and_then(Value::as_array_mut)
            {
                calls.retain(|call| call["id"] != id);
            }
        }
        let bytes = &mut self.bytes;
        self.history.retain(|(entry, size)| {
            let calls = entry.get("function_calls").and_then(Value::as_array);
            let empty = calls.is_some_and(Vec::is_empty);
            *bytes -= if empty { *size } else { 0 };
            !empty
        });
    }

    /// Adds the calls of the service's own history that are not known.
    pub fn recounted(&mut self, history: &Value) {
        let calls = history["function_calls"].as_array().into_iter().flatten();
        let mut new = Vec::new();
        for call in calls {
            let id = call["id"].as_str().unwrap_or_default();
            let known = self.history.iter().any(|(entry, _)| {
                let calls = entry.get("function_calls").and_then(Value::as_array);
                calls.is_some_and(|calls| calls.iter().any(|call| call["id"] == id))
            });
            match call["response"].as_str() {
                Some(response) if known => self.responded(id, response),
                _ if known => {}
                _ => new.push(call.clone()),
            }
        }
        self.called(&new);
    }

    fn remember(&mut self, entry: Value, bytes: usize) {
        self.history.push_back((entry, bytes));
        self.bytes += bytes;
        self.forget_oldest();
    }

    fn forget_oldest(&mut self) {
        while self.bytes > MAX_HISTORY
            && let Some((_, bytes)) = self.history.pop_front()
        {
            self.bytes -= bytes;
        }
    }

    /// The service accepted an update.
    pub fn accept(&mut self, update: Update, frame: Frame) {
        self.updates.retain(|(earlier, _)| *earlier != update);
        self.updates.push((update, frame));
    }

    /// An update is not made again.
    pub fn retract(&mut self, update: Update) {
        self.updates.retain(|(accepted, _)| *accepted != update);
    }

    /// Returns the updates that are made again, in order.
    pub fn updates(&self) -> impl Iterator<Item = (Update, Frame)> {
        self.updates.iter().cloned()
    }

    /// Returns the first message of a later leg: the settings with the conversation so far. The
    /// latest entry of each text in `again` is left out: the user is about to say it again.
    #[must_use]
    pub fn resumed(&self, again: &[&str]) -> Option<Frame> {
        let mut settings = self.settings.clone()?;
        let mut history: Vec<&Value> = self.history.iter().map(|(entry, _)| entry).collect();
        for words in again {
            let said = |entry: &&Value| entry["role"] == "user" && entry["content"] == *words;
            if let Some(index) = history.iter().rposition(said) {
                history.remove(index);
            }
        }
        // A stored agent, which is an id here, cannot be given a conversation.
        if let Some(Value::Object(agent)) = settings.get_mut("agent") {
            if self.greeted {
                agent.remove("greeting");
            }
            if !history.is_empty() {
                let mut context = match agent.remove("context") {
                    Some(Value::Object(context)) => context,
                    _ => Map::new(),
                };
                let mut messages = match context.remove("messages") {
                    Some(Value::Array(messages)) => messages,
                    _ => Vec::new(),
                };
                messages.extend(history.into_iter().cloned());
                context.insert("messages".into(), messages.into());
                agent.insert("context".into(), context.into());
            }
        }
        Some(Frame::from(serde_json::to_string(&settings).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resumed(settings: &'static str, said: &[(&str, &str)]) -> Value {
        let mut conversation = Conversation::default();
        assert!(conversation.settle_on(&Frame::from(settings)));
        for (role, content) in said {
            conversation.said(role, content);
        }
        serde_json::from_slice(conversation.resumed(&[]).unwrap().bytes()).unwrap()
    }

    #[test]
    fn the_conversation_goes_into_the_context() {
        let said = [("user", "Hi \"there\"."), ("assistant", "Hello.")];
        let entries = [
            json!({"type": "History", "role": "user", "content": "Hi \"there\"."}),
            json!({"type": "History", "role": "assistant", "content": "Hello."}),
        ];
        for settings in [
            r#"{"type":"Settings","agent":{"greeting":"Hello."}}"#,
            r#"{"type":"Settings","agent":{"context":null}}"#,
            r#"{"type":"Settings","agent":{"context":{"messages":null}}}"#,
            r#"{"type":"Settings","agent":{"context":{"messages":[]}}}"#,
        ] {
            let expected = json!({"type": "Settings", "agent": {"context": {"messages": entries}}});
            assert_eq!(resumed(settings, &said), expected, "{settings}");
        }
        let value = resumed(
            r#"{"type":"Settings","agent":{"context":{"messages":[{"x":1}]},"speak":{"y":2}}}"#,
            &said[..1],
        );
        let agent = json!({"context": {"messages": [{"x": 1}, entries[0]]}, "speak": {"y": 2}});
        assert_eq!(value["agent"], agent);
    }

    #[test]
    fn what_is_said_again_is_not_in_the_context() {
        let mut conversation = Conversation::default();
        conversation.settle_on(&Frame::from(r#"{"agent":{}}"#));
        for (role, content) in [
            ("user", "Yes."),
            ("assistant", "Go on."),
            ("user", "Yes."),
            ("user", "No."),
        ] {
            conversation.said(role, content);
        }
        let settings = conversation.resumed(&["Yes.", "No.", "Never."]).unwrap();
        let value: Value = serde_json::from_slice(settings.bytes()).unwrap();
        let entries = [
            json!({"type": "History", "role": "user", "content": "Yes."}),
            json!({"type": "History", "role": "assistant", "content": "Go on."}),
        ];
        assert_eq!(value["agent"]["context"]["messages"], json!(entries));
    }

    #[test]
    fn calls_have_their_place_and_their_response() {
        let mut conversation = Conversation::default();
        conversation.settle_on(&Frame::from(r#"{"agent":{}}"#));
        let call = |id: &str, response: &str| json!({"id": id, "name": "f", "client_side": true, "arguments": "{}", "response": response});
        conversation.said("user", "One.");
        conversation.called(&[call("1", ""), call("2", "")]);
        conversation.called(&[call("3", "")]);
        conversation.said_before_calls("Two.");
        conversation.responded("2", "yes");
        conversation.responded("4", "unknown");
        conversation.cancelled("3");
        let history =
            json!({"type": "History", "function_calls": [call("1", "no"), call("5", "5")]});
        conversation.recounted(&history);
        let settings = conversation.resumed(&[]).unwrap();
        let value: Value = serde_json::from_slice(settings.bytes()).unwrap();
        let entries = json!([
            {"type": "History", "role": "user", "content": "One."},
            {"type": "History", "role": "user", "content": "Two."},
            {"type": "History", "function_calls": [call("1", "no"), call("2", "yes")]},
            {"type": "History", "function_calls": [call("5", "5")]},
        ]);
        assert_eq!(value["agent"]["context"]["messages"], entries);
    }

    #[test]
    fn responses_are_bounded_with_the_rest() {
        let mut conversation = Conversation::default();
        conversation.settle_on(&Frame::from(r#"{"agent":{}}"#));
        for id in 0..12 {
            let call = json!({"id": id.to_string(), "response": ""});
            conversation.called(&[call]);
            conversation.responded(&id.to_string(), &"x".repeat(100_000));
        }
        assert!(conversation.resumed(&[]).unwrap().len() < MAX_HISTORY);
    }

    #[test]
    fn without_a_conversation_the_settings_are_the_same() {
        let settings = r#"{"type":"Settings","agent":{"greeting":"Hello.","think":{"a":1.5}}}"#;
        assert_eq!(
            resumed(settings, &[]),
            serde_json::from_str::<Value>(settings).unwrap()
        );
        let named = r#"{"type":"Settings","agent":"an-agent-id"}"#;
        let same = serde_json::from_str::<Value>(named).unwrap();
        assert_eq!(resumed(named, &[("user", "Hi.")]), same);
    }

    #[test]
    fn the_greeting_is_kept_until_it_was_said() {
        let settings = r#"{"type":"Settings","agent":{"greeting":"Hello."}}"#;
        assert_eq!(
            resumed(settings, &[("user", "Hi.")])["agent"]["greeting"],
            "Hello."
        );
        assert!(
            resumed(settings, &[("assistant", "Hello.")])["agent"]
                .get("greeting")
                .is_none()
        );
    }

    #[test]
    fn the_first_settings_count() {
        let mut conversation = Conversation::default();
        assert!(!conversation.settle_on(&Frame::from("[]")));
        assert!(conversation.settle_on(&Frame::from(r#"{"a":1}"#)));
        assert!(!conversation.settle_on(&Frame::from(r#"{"a":2}"#)));
        assert_eq!(conversation.resumed(&[]), Some(Frame::from(r#"{"a":1}"#)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut conversation = Conversation::default();
        conversation.settle_on(&Frame::from(r#"{"agent":{}}"#));
        let long = "x".repeat(100_000);
        for count in 0..12 {
            conversation.said("user", &format!("{count}{long}"));
        }
        let settings = conversation.resumed(&[]).unwrap();
        assert!(settings.len() < MAX_HISTORY, "{}", settings.len());
        let text = settings.as_str().unwrap();
        assert!(text.contains("\"11xx") && !text.contains("\"1xx"));
    }

    #[test]
    fn the_last_update_of_each_sort_is_made_again() {
        let mut conversation = Conversation::default();
        for (update, text) in [
            (Update::Prompt, "1"),
            (Update::Speak, "2"),
            (Update::Think, "3"),
            (Update::Speak, "4"),
        ] {
            conversation.accept(update, Frame::from(text));
        }
        let texts: Vec<Frame> = conversation.updates().map(|(_, frame)| frame).collect();
        assert_eq!(
            texts,
            [Frame::from("1"), Frame::from("3"), Frame::from("4")]
        );
    }

    #[test]
    fn audio_has_the_service_s_defaults() {
        let mut conversation = Conversation::default();
        assert_eq!(conversation.input(), ("linear16".into(), 24_000));
        conversation.settle_on(&Frame::from(
            r#"{"audio":{"input":{"encoding":"mulaw","sample_rate":8000}}}"#,
        ));
        assert_eq!(conversation.input(), ("mulaw".into(), 8_000));
    }
}
