"""Choose the receiver of a chat message: filter the agents, then let a policy choose."""
