"""The life of a request, in reading order: intake, policy, plan, queue, admission, relay, retry."""
