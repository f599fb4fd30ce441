"""What people do with a broker besides running it; one module a command."""
