"""The load test: how many live streams an endpoint holds, and what gives way first.

`plan` says how many streams there are when, `generator` holds them in one process, `workers` has
what runs generators here, in other processes and on Ray, `conductor` runs the plan over workers,
`verdict` judges each step, and `report`, `plots` and `page` write down what came of it. The command
line is in `cli`, and nothing here prints.

Imports `factory`, `events`, `conversations` and the audio of `local`. Tests: `tests/load`.
"""
