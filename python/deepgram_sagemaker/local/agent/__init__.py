"""Voice agents behind the local endpoint: `v1/agent/converse`.

The protocol is here. The caller gives what hears turns (an `Ear`), what speaks and what replies.

May import `local.speak`, `local.controls` and `local.stream`. Tests: tests/local/test_agent.py.
"""

from .service import PATH, AgentService, Ear
from .settings import AgentSettings
from .talk import Reply, echo

__all__ = ["PATH", "AgentService", "AgentSettings", "Ear", "Reply", "echo"]
