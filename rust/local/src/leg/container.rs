//! The container's side of a leg: the watermark model, or a model that lives outside.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dgsm_leg::frame::Frame;

use super::hearing::Hearing;
use crate::bridge::Bridge;
use crate::model::Reply;
use crate::watermark::{Audio, WatermarkModel};

/// What answers. Time is the time since the leg began.
#[derive(Debug)]
pub(super) enum Container {
    /// The watermark model, here.
    Watermark(Box<WatermarkModel>),
    /// A model on the other side of a bridge.
    External(Arc<Bridge>),
}

impl Container {
    /// Hands over a message. `audio` is what `heard` found in it.
    pub(super) fn take(
        &mut self,
        now: Duration,
        message: Frame,
        audio: &Bytes,
        heard: &Hearing,
        replies: &mut Vec<Reply>,
    ) {
        match (self, &message) {
            (Self::Watermark(model), Frame::Binary(_)) => {
                let audio = Audio {
                    bytes: audio,
                    format: heard.format(),
                    frames: heard.frames(),
                    marks: heard.marks(),
                };
                model.hear(now, &audio, replies);
            }
            (Self::Watermark(model), Frame::Text(_)) => {
                model.read(now, message.as_str().unwrap_or_default(), replies);
            }
            (Self::External(bridge), _) => bridge.deliver(message),
        }
    }

    /// Ends the input.
    pub(super) fn input_ended(&mut self, replies: &mut Vec<Reply>) {
        match self {
            Self::Watermark(model) => model.input_ended(replies),
            Self::External(bridge) => bridge.end_input(),
        }
    }

    /// Takes the next reply of a model outside.
    pub(super) fn reply(&self) -> Option<Reply> {
        self.bridge().and_then(Bridge::take)
    }

    /// Returns whether the model is behind: further input would only fill memory.
    pub(super) fn is_behind(&self) -> bool {
        self.bridge().is_some_and(Bridge::is_behind)
    }

    /// Returns when [`Self::tick`] has something to do.
    pub(super) fn deadline(&self) -> Option<Duration> {
        match self {
            Self::Watermark(model) => model.deadline(),
            Self::External(_) => None,
        }
    }

    /// Does what is due by itself.
    pub(super) fn tick(&mut self, now: Duration, replies: &mut Vec<Reply>) {
        match self {
            Self::Watermark(model) => model.tick(now, replies),
            Self::External(_) => {}
        }
    }

    /// Tells the model that the leg has ended.
    pub(super) fn leave(&self) {
        if let Some(bridge) = self.bridge() {
            bridge.leave();
        }
    }

    /// Returns the bridge of a model outside.
    pub(super) fn bridge(&self) -> Option<&Bridge> {
        match self {
            Self::Watermark(_) => None,
            Self::External(bridge) => Some(bridge),
        }
    }
}
