"""SageMaker transport for the Deepgram Python SDK."""
