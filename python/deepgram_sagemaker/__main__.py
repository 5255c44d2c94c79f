"""`python -m deepgram_sagemaker`: the command line."""

from .cli import main

main()
