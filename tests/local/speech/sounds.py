"""Sound that the tests can count: bursts of tone for words, a quiet hiss for the rest."""

import numpy as np

RATE = 16_000
_noise = np.random.default_rng(7)


def quiet(seconds, rate=RATE):
    return (_noise.standard_normal(round(seconds * rate)) * 0.0005).astype(np.float32)


def voice(seconds, rate=RATE):
    samples = quiet(seconds, rate)
    time = np.arange(len(samples)) / rate
    # Four syllables a second: a sound without dips is no voice, and becomes the background.
    syllables = np.where((time % 0.25 >= 0.1) & (time % 0.25 < 0.15), 0.02, 1.0)
    return samples + (0.2 * syllables * np.sin(2 * np.pi * 300 * time)).astype(np.float32)


def scene(*spans, rate=RATE):
    """`scene(1.0, -0.5, …)`: positive seconds have a voice, negative ones have none."""
    parts = [voice(span, rate) if span > 0 else quiet(-span, rate) for span in spans]
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def linear16(samples):
    return (samples * 32767).astype("<i2").tobytes()


def count_halves(samples):
    """A recogniser that hears one word for each half second of sound it is given."""
    loud = np.abs(samples) > 0.02
    # A tone crosses zero: what counts is each 10 ms, not each sample; 40 of 50 are in no dip.
    frames = loud[: len(loud) // 160 * 160].reshape(-1, 160).any(axis=1)
    return " ".join(f"Word{n}," for n in range(round(frames.sum() / 40)))
