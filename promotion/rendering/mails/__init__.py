"""Mails: `requests` for a decision, `notices` of outcomes, `stops`, the `registry`, a `digest`, and their `layout`."""
