"""What Go's standard library does to a request or an answer, where a client can see it."""
