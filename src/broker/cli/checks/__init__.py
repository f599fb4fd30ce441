"""What `broker check` looks at; one module a peer."""
