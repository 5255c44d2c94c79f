"""`python -m deepgram_sagemaker.cli`."""

from . import main

main()
