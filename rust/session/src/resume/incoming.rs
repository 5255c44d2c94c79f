//! One message of the current leg, with everything that it may change.

use super::inbox::Inbox;
use super::leg::LegView;
use super::rewrite::Edits;
use super::scan::Node;
use crate::journal::Journal;
use dgsm_leg::frame::Frame;

/// A message of the leg that speaks for the session.
#[derive(Debug)]
pub struct Incoming<'a> {
    /// The leg.
    pub leg: &'a mut LegView,
    /// Where the message acknowledges what was sent.
    pub journal: &'a mut Journal,
    /// The way to the application.
    pub inbox: &'a mut Inbox,
    /// The message as it came.
    pub frame: &'a Frame,
    root: Option<Node<'a>>,
    kind: Option<&'a str>,
}

impl<'a> Incoming<'a> {
    /// Reads a message.
    #[must_use]
    pub fn new(
        leg: &'a mut LegView,
        journal: &'a mut Journal,
        frame: &'a Frame,
        inbox: &'a mut Inbox,
    ) -> Self {
        let root = frame.as_str().and_then(Node::root);
        let kind = root.and_then(|root| root.get("type")?.raw_str());
        Self {
            leg,
            journal,
            inbox,
            frame,
            root,
            kind,
        }
    }

    /// Returns its `type`; `None` for binary messages, and for text without one.
    #[must_use]
    pub const fn kind(&self) -> Option<&'a str> {
        self.kind
    }

    /// Returns it as JSON; `None` where it is not.
    #[must_use]
    pub const fn root(&self) -> Option<Node<'a>> {
        self.root
    }

    /// Returns one of its members.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Node<'a>> {
        self.root?.get(key)
    }

    /// Delivers it as it came.
    pub fn pass_on(&mut self) {
        self.inbox.push(self.frame.clone());
    }

    /// Delivers it with some changes.
    pub fn deliver(&mut self, edits: Edits) {
        self.inbox.push(edits.apply_to(self.frame));
    }

    /// Keeps it back until it is clear whether the leg ends over it.
    pub fn hold(&mut self) {
        self.leg.hold(self.frame.clone());
    }
}
