"""Voice agents behind the local endpoint: `v1/agent/converse`, with any ear, voice and reply.

- `talk`: one conversation, without I/O.
- `settings`: the `Settings` message.
- `service`: the protocol on a stream.

It imports `speak`, for the agent's voice, and no numpy. Tests: `tests/local/test_agent.py`.
"""

from .service import PATH, AgentService, Ear
from .settings import AgentSettings
from .talk import Reply, echo

__all__ = ["PATH", "AgentService", "AgentSettings", "Ear", "Reply", "echo"]
