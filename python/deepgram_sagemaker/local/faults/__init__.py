"""Faults on demand: what goes wrong, and when.

A fault is an action and a trigger; it says on which opens and how often:

```python
Fault(Reset(), when=AfterAudio(3.2))                     # once, after 3.2 s of audio
Fault(Answer(429, "ThrottlingException"), times=2)       # the first two opens
Fault(EndEarly(), when=AfterMessages(3), legs=(2, 4))    # three legs in a row
Fault(Drop(), when=AfterNewChunks(50), times=None)       # after each 50 chunks not heard before
Fault(EndEarly(), when=OnMessage("CloseStream"))         # before the last results
Fault(NeverTls(), when=OnConnect(), legs=1)              # the first connection
```

Several faults may strike one stream, in the order in which they are given.
"""

from __future__ import annotations

from .actions import (
    Action,
    Answer,
    ConnectionAction,
    DelayAnswer,
    Drop,
    EndEarly,
    GoAway,
    GoSilent,
    InBandException,
    InternalStreamFailure,
    Late,
    Malformed,
    ModelStreamError,
    NeverAnswer,
    NeverHttp2,
    NeverTls,
    Outage,
    Reset,
    ResetTcp,
    SlowTls,
    Split,
)
from .fault import Fault
from .triggers import (
    AfterAudio,
    AfterBytes,
    AfterChunks,
    AfterMessages,
    AfterNewAudio,
    AfterNewChunks,
    AfterReplies,
    AfterTime,
    AtOpen,
    OnConnect,
    OnMessage,
    OnNextOpen,
    Trigger,
)

__all__ = [
    "Action",
    "AfterAudio",
    "AfterBytes",
    "AfterChunks",
    "AfterMessages",
    "AfterNewAudio",
    "AfterNewChunks",
    "AfterReplies",
    "AfterTime",
    "Answer",
    "AtOpen",
    "ConnectionAction",
    "DelayAnswer",
    "Drop",
    "EndEarly",
    "Fault",
    "GoAway",
    "GoSilent",
    "InBandException",
    "InternalStreamFailure",
    "Late",
    "Malformed",
    "ModelStreamError",
    "NeverAnswer",
    "NeverHttp2",
    "NeverTls",
    "OnConnect",
    "OnMessage",
    "OnNextOpen",
    "Outage",
    "Reset",
    "ResetTcp",
    "SlowTls",
    "Split",
    "Trigger",
]
