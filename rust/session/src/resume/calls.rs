//! Functions that a voice agent has called, and their responses.
//!
//! A call belongs to the leg that made it: another leg does not know its id. When a new leg repeats
//! an open call, it gets the known response, at once or when it comes; the application is not asked
//! again. Calls that the service carries out itself cannot be held back.
//!
//! ```text
//!             the turn's text comes     it speaks with the response
//!   Early ────────────────────▶ Awaited ───────────────────────────▶ Done
//!                                │   ▲
//!    another turn, another leg   ▼   │ the new leg makes it again, and gets the response
//!                                Open
//! ```

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::rewrite::Edits;
use super::scan::Node;
use dgsm_leg::frame::Frame;

/// How many calls are remembered. More push out the oldest.
const MAX_CALLS: usize = 256;

/// A call's stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It was made before the text of the user's turn, which has not come.
    Early,
    /// The agent may be about to use it.
    Awaited,
    /// The agent has not used it, and nothing shows that it will.
    Open,
    /// The agent has used it: the same call again is a new one.
    Done,
}

/// One call of one function.
#[derive(Debug)]
struct Call {
    /// Its id for the application.
    id: String,
    name: String,
    arguments: String,
    client_side: bool,
    response: Option<String>,
    /// The leg that made it last, and its id there.
    leg: u64,
    leg_id: String,
    stage: Stage,
}

/// The result of a request.
#[derive(Debug, Default)]
pub struct Requested {
    /// The message for the application, without the calls that it knows; `None` where it knows them
    /// all.
    pub news: Option<Frame>,
    /// Known responses, for the leg.
    pub replies: Vec<Frame>,
    /// The new calls, as entries of `function_calls`.
    pub entries: Vec<Value>,
    /// The service carries out a call a second time.
    pub called_again: bool,
}

/// What happens to the application's response.
#[derive(Debug, PartialEq, Eq)]
pub enum Response {
    /// The leg waits for it. Holds the call's id, where it is known.
    Wanted(Option<String>),
    /// The leg does not know the call, so it is not sent there.
    Unwanted(Option<String>),
}

/// The calls of a conversation, oldest first.
#[derive(Debug, Default)]
pub struct Calls {
    made: VecDeque<Call>,
    leg: u64,
    /// Whether this leg has reported a turn of the user's, and answered one.
    turn_reported: bool,
    turn_answered: bool,
}

impl Calls {
    /// Another leg begins, which has made no calls.
    pub fn begin_leg(&mut self, leg: u64) {
        self.leg = leg;
        (self.turn_reported, self.turn_answered) = (false, false);
        self.made.retain(|call| call.stage != Stage::Done);
        for call in &mut self.made {
            call.stage = Stage::Open;
        }
    }

    /// The leg calls functions. `early`: the text of the user's turn has not come.
    pub fn requested(&mut self, frame: &Frame, root: Node<'_>, early: bool) -> Requested {
        let mut requested = Requested::default();
        let Some(functions) = root.get("functions") else {
            requested.news = Some(frame.clone());
            return requested;
        };
        let (mut news, mut known) = (Vec::new(), false);
        for function in functions.elements() {
            let stage = if early { Stage::Early } else { Stage::Awaited };
            let Some(call) = Call::read(function, self.leg, stage) else {
                news.push(function.text());
                continue;
            };
            let again = self.again(&call);
            requested.called_again |= again.is_some() && !call.client_side;
            if let Some(open) = again.and_then(|index| self.made.get_mut(index)) {
                (open.leg, open.leg_id, open.stage) = (call.leg, call.leg_id, stage);
                if open.client_side {
                    known = true;
                    requested.replies.extend(open.reply());
                } else {
                    news.push(function.text());
                }
            } else {
                news.push(function.text());
                requested.entries.push(call.entry(function));
                if self.made.len() == MAX_CALLS {
                    self.made.pop_front();
                }
                self.made.push_back(call);
            }
        }
        if !known {
            requested.news = Some(frame.clone());
        } else if !news.is_empty() {
            let mut edits = Edits::default();
            edits.replace(functions.span(), format!("[{}]", news.join(",")));
            requested.news = Some(edits.apply_to(frame));
        }
        requested
    }

    /// Returns the open call of an earlier leg that this one repeats.
    fn again(&self, call: &Call) -> Option<usize> {
        self.made.iter().position(|open| {
            open.leg < call.leg
                && open.stage != Stage::Done
                && open.client_side == call.client_side
                && open.name == call.name
                && same(&open.arguments, &call.arguments)
        })
    }

    /// The application responds, with a call's id or, without one, its name.
    pub fn responded(&mut self, root: Node<'_>) -> Response {
        let (id, name) = (text(root, "id"), text(root, "name"));
        let leg = self.leg;
        let call = match &id {
            Some(id) => self.made.iter_mut().find(|call| call.id == *id),
            None => self
                .made
                .iter_mut()
                .find(|call| call.response.is_none() && Some(&call.name) == name.as_ref()),
        };
        let Some(call) = call else {
            // The first leg is sent everything, also what is not understood.
            let first = leg == 0;
            return if first {
                Response::Wanted(id)
            } else {
                Response::Unwanted(id)
            };
        };
        call.response = text(root, "content").or(call.response.take());
        let id = Some(call.id.clone());
        if call.leg == leg {
            Response::Wanted(id)
        } else {
            Response::Unwanted(id)
        }
    }

    /// The service responds to a call that it carried out itself. Returns the call's id.
    pub fn carried_out(&mut self, root: Node<'_>) -> Option<String> {
        let (id, name, leg) = (text(root, "id"), text(root, "name"), self.leg);
        let call = self.made.iter_mut().find(|call| {
            let named = match &id {
                Some(id) => call.leg_id == *id,
                None => call.response.is_none() && Some(&call.name) == name.as_ref(),
            };
            call.leg == leg && named
        })?;
        call.response = text(root, "content").or(call.response.take());
        Some(call.id.clone())
    }

    /// Returns the application's response with the call's id on this leg.
    #[must_use]
    pub fn addressed(&self, frame: Frame) -> Frame {
        let node = frame
            .as_str()
            .and_then(Node::root)
            .and_then(|root| root.get("id"));
        let Some(node) = node else {
            return frame;
        };
        let id: Option<String> = serde_json::from_str(node.text()).ok();
        let call = self
            .made
            .iter()
            .find(|call| Some(&call.id) == id.as_ref() && call.leg == self.leg);
        let mut edits = Edits::default();
        if let Some(call) = call.filter(|call| call.leg_id != call.id) {
            edits.replace(node.span(), Value::from(call.leg_id.as_str()).to_string());
        }
        edits.apply_to(&frame)
    }

    /// The service cancels calls. Returns the message with the ids that the application knows, and
    /// those ids.
    pub fn cancelled(&mut self, frame: &Frame, root: Node<'_>) -> (Frame, Vec<String>) {
        let (mut edits, mut ids) = (Edits::default(), Vec::new());
        let functions = root.get("functions").into_iter();
        for function in functions.flat_map(|functions| functions.elements()) {
            let known = text(function, "id").and_then(|id| {
                let here = |call: &Call| call.leg == self.leg && call.leg_id == id;
                self.made.iter().position(here)
            });
            if let Some(call) = known.and_then(|index| self.made.remove(index)) {
                if let Some(node) = function.get("id").filter(|_| call.id != call.leg_id) {
                    edits.replace(node.span(), Value::from(call.id.as_str()).to_string());
                }
                ids.push(call.id);
            }
        }
        (edits.apply_to(frame), ids)
    }

    /// The text of a user's turn comes. Returns whether calls were made before it. A second turn,
    /// after this leg has answered one, is about something else: its calls are new ones.
    pub fn turn(&mut self) -> bool {
        if self.turn_answered {
            let leg = self.leg;
            self.made.retain(|call| call.leg == leg);
        }
        self.turn_reported = true;
        let mut any = false;
        for call in &mut self.made {
            any |= call.stage == Stage::Early;
            call.stage = match call.stage {
                Stage::Early => Stage::Awaited,
                Stage::Awaited | Stage::Open => Stage::Open,
                Stage::Done => Stage::Done,
            };
        }
        any
    }

    /// The agent speaks: it has used the responses that it has.
    pub fn spoken(&mut self) {
        self.turn_answered |= self.turn_reported;
        let leg = self.leg;
        for call in self.made.iter_mut().filter(|call| call.leg == leg) {
            if call.response.is_some() {
                call.stage = Stage::Done;
            }
        }
    }

    /// Returns whether the agent may be about to use a call of this leg: another leg could not.
    #[must_use]
    pub fn waits(&self) -> bool {
        let mut stages = self.made.iter().map(|call| call.stage);
        stages.any(|stage| matches!(stage, Stage::Early | Stage::Awaited))
    }

    /// Gives a history's calls the ids that the application knows.
    pub fn rename(&self, history: &mut Value) {
        let calls = history["function_calls"]
            .as_array_mut()
            .into_iter()
            .flatten();
        for entry in calls {
            let known = self.made.iter().find(|call| {
                call.leg == self.leg && entry["id"].as_str() == Some(call.leg_id.as_str())
            });
            if let Some(call) = known {
                entry["id"] = call.id.as_str().into();
            }
        }
    }
}

impl Call {
    fn read(function: Node<'_>, leg: u64, stage: Stage) -> Option<Self> {
        let id = text(function, "id")?;
        Some(Self {
            leg_id: id.clone(),
            id,
            name: text(function, "name")?,
            arguments: text(function, "arguments").unwrap_or_default(),
            client_side: function
                .get("client_side")
                .and_then(|side| side.bool())
                .unwrap_or(true),
            response: None,
            leg,
            stage,
        })
    }

    /// Returns the call as an entry of the conversation's history.
    fn entry(&self, function: Node<'_>) -> Value {
        let mut entry = json!({
            "id": self.id,
            "name": self.name,
            "client_side": self.client_side,
            "arguments": self.arguments,
            "response": "",
        });
        if let Some(signature) = text(function, "thought_signature") {
            entry["thought_signature"] = signature.into();
        }
        entry
    }

    /// Returns the known response, with the call's id on the leg.
    fn reply(&self) -> Option<Frame> {
        let content = self.response.as_ref()?;
        let reply = json!({
            "type": "FunctionCallResponse",
            "id": self.leg_id,
            "name": self.name,
            "content": content,
        });
        Some(Frame::from(reply.to_string()))
    }
}

/// Returns a member's text, unescaped.
fn text(object: Node<'_>, key: &str) -> Option<String> {
    serde_json::from_str(object.get(key)?.text()).ok()
}

/// Returns whether arguments are the same. They are JSON in a string, so order and spacing do not
/// count.
fn same(one: &str, other: &str) -> bool {
    let value = |text| serde_json::from_str::<Value>(text).ok();
    one == other || value(one).is_some_and(|one| Some(one) == value(other))
}
