"""Event sources: rules, schedules, the ledger's stream, queues."""
