"""What makes functions run without being called: rules, schedules, the ledger's stream, queues."""
