"""Whole conversations through the Deepgram SDK: a recording in, its results out; text and speech.

For what holds conversations itself: the command line, batches, and the load test. An application
holds its own, through the SDK.
"""
