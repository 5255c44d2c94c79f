//! Two syntheses of one text: whether they are the same, where they match, and how to go from one
//! to the other without a click.
//!
//! A [`Trace`] is kept of delivered speech: a checksum after every frame of 10 ms, and the sound of
//! each frame. It shows where a second synthesis starts to differ, and which of its places
//! corresponds to the end of the first ([`counterpart`]). The join is at the quietest point within
//! 50 ms of that place ([`quietest`]), and a [`Ramp`] smooths it.

use crc32fast::Hasher;

use super::voice::Voice;

/// A frame's length, in milliseconds.
const FRAME_MILLIS: u32 = 10;
/// How far from its place a quiet point is looked for, in milliseconds.
pub const REACH_MILLIS: u32 = 50;
/// The window over which the loudness of a point is measured, in milliseconds.
const POINT_MILLIS: u32 = 5;
/// A ramp's length, in milliseconds: too long for a click, too short for a syllable.
const RAMP_MILLIS: u32 = 5;
/// A frame's length where the encoding is not understood, in bytes.
const OPAQUE_FRAME: usize = 1024;
/// The loudness below which a frame has no pitch but noise, on the scale of 16 bits.
const SILENT: u64 = 32;
/// How far a second synthesis may be ahead or behind, in frames, in addition to a quarter.
const SLACK: usize = 5;
/// How many frames are matched. The time grows with the square, so longer speech is matched in
/// longer frames.
const MAX_FRAMES: usize = 2000;
/// The cost of stretching or squeezing by a frame, in units of [`Sound::difference`].
const STRETCH: u32 = 6;

/// A frame's sound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sound {
    /// Its loudness, eight steps per doubling.
    level: u8,
    /// How often the wave crosses zero.
    pitch: u8,
}

impl Sound {
    fn difference(self, other: Self) -> u32 {
        u32::from(self.level.abs_diff(other.level)) + u32::from(self.pitch.abs_diff(other.pitch))
    }
}

/// A frame that is not complete.
#[derive(Clone, Debug, Default)]
struct Measure {
    samples: u64,
    size: u64,
    crossings: u64,
    negative: bool,
}

impl Measure {
    fn add(&mut self, value: i32) {
        self.samples += 1;
        self.size += u64::from(value.unsigned_abs());
        self.crossings += u64::from((value < 0) != self.negative);
        self.negative = value < 0;
    }

    fn take(&mut self) -> Sound {
        let mean = self.size / self.samples.max(1);
        #[expect(clippy::cast_precision_loss, reason = "a mean of 16-bit samples")]
        let level = ((mean + 1) as f32).log2() * 8.0;
        let pitch = if mean < SILENT {
            0
        } else {
            self.crossings.min(255) as u8
        };
        *self = Self {
            negative: self.negative,
            ..Self::default()
        };
        #[expect(clippy::cast_sign_loss, reason = "a logarithm of at least 1")]
        let level = level as u8;
        Sound { level, pitch }
    }
}

/// What is kept of speech.
#[derive(Clone, Debug)]
pub struct Trace {
    voice: Option<Voice>,
    frame: usize,
    checksum: Hasher,
    bytes: u64,
    marks: Vec<u32>,
    sounds: Vec<Sound>,
    measure: Measure,
    /// The first byte of a sample whose second has not come.
    half: Option<u8>,
    last: i32,
}

impl Trace {
    /// Returns an empty trace. Without a voice it has checksums only.
    #[must_use]
    pub fn new(voice: Option<Voice>) -> Self {
        let frame = |voice: Voice| voice.samples(FRAME_MILLIS) * voice.sample_bytes();
        Self {
            voice,
            frame: voice.map_or(OPAQUE_FRAME, frame),
            checksum: Hasher::new(),
            bytes: 0,
            marks: Vec::new(),
            sounds: Vec::new(),
            measure: Measure::default(),
            half: None,
            last: 0,
        }
    }

    /// Adds speech.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let within = (self.bytes % self.frame as u64) as usize;
            let (now, later) = bytes.split_at(bytes.len().min(self.frame - within));
            self.checksum.update(now);
            self.bytes += now.len() as u64;
            if let Some(voice) = self.voice {
                self.measure(voice, now);
            }
            if within + now.len() == self.frame {
                self.marks.push(self.checksum());
                self.sounds.push(self.measure.take());
            }
            bytes = later;
        }
    }

    fn measure(&mut self, voice: Voice, bytes: &[u8]) {
        let mut rest = bytes;
        if let Some(first) = self.half.take()
            && let Some((second, tail)) = rest.split_first()
        {
            self.sample(voice, &[first, *second]);
            rest = tail;
        }
        let whole = rest.chunks_exact(voice.sample_bytes());
        self.half = whole.remainder().first().copied();
        for sample in whole {
            self.sample(voice, sample);
        }
    }

    fn sample(&mut self, voice: Voice, bytes: &[u8]) {
        self.last = voice.decode(bytes);
        self.measure.add(self.last);
    }

    /// Returns its size in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns a checksum of all of it.
    #[must_use]
    pub fn checksum(&self) -> u32 {
        self.checksum.clone().finalize()
    }

    /// Returns the last whole sample.
    #[must_use]
    pub const fn last(&self) -> i32 {
        self.last
    }

    /// Returns the number of whole frames.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.marks.len()
    }

    /// Returns a frame's size in bytes.
    #[must_use]
    pub const fn frame_bytes(&self) -> usize {
        self.frame
    }

    /// Compares two traces from frame `from` on, as far as both go. Returns the number of the first
    /// frame that was not compared.
    ///
    /// # Errors
    /// The first frame that differs.
    pub fn same(&self, other: &Self, from: usize) -> Result<usize, usize> {
        let both = self.marks.len().min(other.marks.len());
        for index in from..both {
            if self.marks[index] != other.marks[index] {
                return Err(index);
            }
        }
        Ok(both.max(from))
    }

    fn sounds_from(&self, frame: usize) -> &[Sound] {
        self.sounds.get(frame..).unwrap_or_default()
    }
}

/// Returns how many frames of a second synthesis are needed to find the counterpart of `frames`
/// frames.
#[must_use]
pub const fn frames_needed(frames: usize) -> usize {
    frames + frames / 4 + SLACK + (REACH_MILLIS / FRAME_MILLIS) as usize + 1
}

/// Returns the earliest frame at which the counterpart of `frames` frames may be found.
#[must_use]
pub const fn frames_possible(frames: usize) -> usize {
    let reach = frames / 4 + SLACK + (REACH_MILLIS / FRAME_MILLIS) as usize + 1;
    frames.saturating_sub(reach)
}

/// Returns the place in a second synthesis that corresponds to the end of the first, in bytes from
/// its start. Both are the same up to frame `from`.
#[must_use]
pub fn counterpart(first: &Trace, second: &Trace, from: usize) -> u64 {
    let (old, new) = (first.sounds_from(from), second.sounds_from(from));
    let frame = first.frame as u64;
    let rest = first.bytes - (from + old.len()) as u64 * frame;
    let group = old.len().div_ceil(MAX_FRAMES).max(1);
    let matched = if group == 1 {
        matching(old, new)
    } else {
        // The remainder is taken one to one.
        let matched = matching(&grouped(old, group), &grouped(new, group)) * group;
        matched + old.len() % group
    };
    ((from + matched) as u64 * frame + rest).min(second.bytes)
}

fn grouped(sounds: &[Sound], group: usize) -> Vec<Sound> {
    let mean = |sounds: &[Sound], of: fn(&Sound) -> u8| {
        let sum: u32 = sounds.iter().map(|sound| u32::from(of(sound))).sum();
        (sum / sounds.len() as u32) as u8
    };
    sounds
        .chunks_exact(group)
        .map(|sounds| Sound {
            level: mean(sounds, |sound| sound.level),
            pitch: mean(sounds, |sound| sound.pitch),
        })
        .collect()
}

/// Returns how many of the `new` frames correspond to all the `old` ones: both start together, and
/// either may be stretched by up to a quarter. (Dynamic time warping, with an open end of the
/// second one.)
fn matching(old: &[Sound], new: &[Sound]) -> usize {
    let unreachable = u32::MAX / 2;
    // costs[j]: the lowest cost of matching the old frames so far with the first j new ones.
    let mut costs = vec![unreachable; new.len() + 1];
    costs[0] = 0;
    let mut band = 0..=0;
    for (index, sound) in old.iter().enumerate() {
        let reach = (index + 1) / 4 + SLACK;
        let low = (index + 1).saturating_sub(reach);
        let high = (index + 1 + reach).min(new.len());
        let mut next = vec![unreachable; new.len() + 1];
        for count in low..=high {
            let stretched = costs[count].saturating_add(STRETCH);
            next[count] = match count.checked_sub(1) {
                Some(before) => {
                    let way = costs[before].min(stretched).min(next[before] + STRETCH);
                    way + sound.difference(new[before])
                }
                // Before the start of the second one.
                None => stretched + u32::from(sound.level),
            };
        }
        costs = next;
        band = low..=high;
    }
    band.min_by_key(|&count| (costs[count], count.abs_diff(old.len())))
        .unwrap_or(0)
}

/// Returns the quietest sample boundary within reach of `place`, the nearest one of equals.
/// `speech` may start and end anywhere; places are in bytes from its start.
#[must_use]
pub fn quietest(voice: Voice, speech: &[u8], place: usize) -> usize {
    let width = voice.sample_bytes();
    let sizes: Vec<u64> = speech
        .chunks_exact(width)
        .map(|sample| u64::from(voice.decode(sample).unsigned_abs()))
        .collect();
    let place = (place / width).min(sizes.len());
    let reach = voice.samples(REACH_MILLIS);
    let half = voice.samples(POINT_MILLIS) / 2 + 1;
    let sum = |around: usize| -> u64 {
        let (from, to) = (
            around.saturating_sub(half),
            (around + half).min(sizes.len()),
        );
        let sum: u64 = sizes[from..to].iter().sum();
        // The window is shorter at the edges, so the sum is scaled.
        sum * 2 * half as u64 / (to - from).max(1) as u64
    };
    let points = place.saturating_sub(reach)..=(place + reach).min(sizes.len());
    let best = points.min_by_key(|&point| (sum(point), point.abs_diff(place)));
    best.unwrap_or(place) * width
}

/// Smooths the step from one synthesis to another: the difference fades out.
#[derive(Clone, Debug)]
pub struct Ramp {
    voice: Voice,
    /// The last value of the first synthesis.
    from: i32,
    /// The difference at the start, once the first sample has come.
    missing: Option<i32>,
    at: usize,
    half: Option<u8>,
}

impl Ramp {
    /// Returns a ramp that starts at a value.
    #[must_use]
    pub const fn new(voice: Voice, from: i32) -> Self {
        Self {
            voice,
            from,
            missing: None,
            at: 0,
            half: None,
        }
    }

    /// Returns whether it has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.at >= self.voice.samples(RAMP_MILLIS) && self.half.is_none()
    }

    /// Changes the speech that follows. Returns whole samples; half a sample waits for the next
    /// call.
    #[must_use]
    pub fn apply(&mut self, speech: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> = self
            .half
            .take()
            .into_iter()
            .chain(speech.iter().copied())
            .collect();
        let width = self.voice.sample_bytes();
        if !bytes.len().is_multiple_of(width)
            && self.at + bytes.len() / width < self.voice.samples(RAMP_MILLIS)
        {
            self.half = bytes.pop();
        }
        for sample in bytes.chunks_exact_mut(width) {
            if self.at >= self.voice.samples(RAMP_MILLIS) {
                break;
            }
            let value = self.voice.decode(sample);
            let missing = *self.missing.get_or_insert(self.from - value);
            self.voice.encode(value + self.left(missing), sample);
            self.at += 1;
        }
        bytes
    }

    /// Returns the rest of the ramp when no speech follows.
    #[must_use]
    pub fn end(self) -> Vec<u8> {
        let width = self.voice.sample_bytes();
        let mut bytes = Vec::new();
        // A rest that is inaudible is left out.
        if u64::from(self.missing.unwrap_or(self.from).unsigned_abs()) >= SILENT {
            for at in self.at..self.voice.samples(RAMP_MILLIS) {
                let mut sample = [0; 2];
                let missing = self.missing.unwrap_or(self.from);
                self.voice.encode(
                    Self { at, ..self.clone() }.left(missing),
                    &mut sample[..width],
                );
                bytes.extend_from_slice(&sample[..width]);
            }
        }
        bytes
    }

    /// A raised cosine: flat at both ends.
    fn left(&self, missing: i32) -> i32 {
        #[expect(clippy::cast_precision_loss, reason = "a few hundred samples")]
        let done = self.at as f64 / self.voice.samples(RAMP_MILLIS) as f64;
        let weight = 0.5 + 0.5 * (std::f64::consts::PI * done).cos();
        (f64::from(missing) * weight).round() as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voice() -> Voice {
        Voice::from_query("encoding=linear16&sample_rate=16000").unwrap()
    }

    /// Returns a tone as bytes.
    fn tone(hertz: f64, size: f64, millis: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for index in 0..millis * 16 {
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let phase = index as f64 / 16_000.0 * hertz * std::f64::consts::TAU;
            bytes.extend(((phase.sin() * size) as i16).to_le_bytes());
        }
        bytes
    }

    fn silence(millis: usize) -> Vec<u8> {
        vec![0; millis * 32]
    }

    fn trace(bytes: &[u8]) -> Trace {
        let mut trace = Trace::new(Some(voice()));
        trace.feed(bytes);
        trace
    }

    #[test]
    fn a_trace_is_the_same_for_any_split() {
        let speech = tone(300.0, 8000.0, 95);
        let whole = trace(&speech);
        for piece in [1, 3, 319, 320, 321] {
            let mut split = Trace::new(Some(voice()));
            for bytes in speech.chunks(piece) {
                split.feed(bytes);
            }
            assert_eq!(
                (&split.marks, &split.sounds),
                (&whole.marks, &whole.sounds),
                "{piece}"
            );
            assert_eq!(split.last(), whole.last());
        }
        assert_eq!((whole.frames(), whole.bytes()), (9, 3040));
    }

    #[test]
    fn the_first_frame_that_differs() {
        let mut speech = tone(300.0, 8000.0, 100);
        let first = trace(&speech);
        assert_eq!(first.same(&trace(&speech[..2000]), 2), Ok(6));
        speech[1500] ^= 1;
        assert_eq!(first.same(&trace(&speech), 0), Err(4));
    }

    #[test]
    fn a_stretched_synthesis_is_matched_word_by_word() {
        // Words of different loudness and pitch; the second time everything takes other times.
        let words = [
            (200.0, 9000.0),
            (450.0, 3000.0),
            (300.0, 6000.0),
            (700.0, 9000.0),
        ];
        let say = |lengths: [usize; 4]| {
            let mut speech = Vec::new();
            for ((hertz, size), millis) in words.into_iter().zip(lengths) {
                speech.extend(tone(hertz, size, millis));
                speech.extend(silence(40));
            }
            speech
        };
        let second = say([240, 220, 320, 250]);
        // Cut 100 ms into the third word.
        let cut = (200 + 40 + 250 + 40 + 100) * 32;
        let first = &say([200, 250, 300, 300])[..cut];
        let place = counterpart(&trace(first), &trace(&second), 0) / 32;
        let expected = 240 + 40 + 220 + 40 + 100;
        assert!(place.abs_diff(expected) <= 20, "{place} for {expected}");
    }

    #[test]
    fn the_same_timing_matches_itself() {
        let speech: Vec<u8> = [
            tone(200.0, 9000.0, 300),
            silence(95),
            tone(440.0, 900.0, 205),
        ]
        .concat();
        for cut in [0, 100, 3200, 9630, 15_000] {
            let cut = cut / 2 * 2;
            assert_eq!(
                counterpart(&trace(&speech[..cut]), &trace(&speech), 0),
                cut as u64
            );
        }
    }

    #[test]
    fn long_speech_is_matched_in_longer_frames() {
        let speech: Vec<u8> = (0..300)
            .flat_map(|word| [tone(150.0 + f64::from(word), 8000.0, 60), silence(40)].concat())
            .collect();
        let cut = speech.len() - 6400;
        let place = counterpart(&trace(&speech[..cut]), &trace(&speech), 0);
        assert_eq!(place, cut as u64);
    }

    #[test]
    fn the_quietest_point_is_within_reach() {
        let speech = [
            tone(200.0, 9000.0, 200),
            silence(20),
            tone(200.0, 9000.0, 200),
        ]
        .concat();
        // The middle of the pause is 30 ms away.
        let point = quietest(voice(), &speech, 180 * 32);
        assert!((200 * 32..=220 * 32).contains(&point), "{}", point / 32);
        let far = quietest(voice(), &speech, 100 * 32);
        assert!((50 * 32..=150 * 32).contains(&far));
        assert_eq!(
            quietest(voice(), &silence(300), 100 * 32 + 1),
            100 * 32,
            "nearest of equals"
        );
        assert_eq!(quietest(voice(), &[], 100), 0);
    }

    #[test]
    fn a_ramp_starts_where_the_other_stopped() {
        let speech = tone(200.0, 2000.0, 20);
        for piece in [1, 2, 7, 1000] {
            let mut ramp = Ramp::new(voice(), 9000);
            let mut joined = Vec::new();
            for bytes in speech.chunks(piece) {
                joined.extend(ramp.apply(bytes));
            }
            assert!(ramp.is_over());
            assert_eq!(joined.len(), speech.len());
            assert_eq!(voice().decode(&joined[..2]), 9000);
            assert_eq!(joined[160..], speech[160..], "5 ms, and not longer");
            let values: Vec<i32> = joined
                .chunks(2)
                .map(|sample| voice().decode(sample))
                .collect();
            let jump = values
                .windows(2)
                .map(|pair| (pair[1] - pair[0]).abs())
                .max()
                .unwrap();
            assert!(jump < 400, "{jump}");
        }
    }

    #[test]
    fn a_ramp_without_speech_fades_out() {
        let ramp = Ramp::new(voice(), -5000);
        let end = ramp.end();
        assert_eq!(end.len(), 160);
        assert_eq!(voice().decode(&end[..2]), -5000);
        assert!(voice().decode(&end[158..]).abs() < 10);
        assert!(Ramp::new(voice(), 5).end().is_empty());
    }
}
