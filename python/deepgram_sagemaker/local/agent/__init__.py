"""Voice agents behind the local endpoint: `v1/agent/converse`, for any ear, voice and wit."""

from .service import PATH, AgentService, Ear
from .settings import AgentSettings
from .talk import Reply, echo

__all__ = ["PATH", "AgentService", "AgentSettings", "Ear", "Reply", "echo"]
