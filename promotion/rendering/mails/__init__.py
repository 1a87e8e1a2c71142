"""The mails: `asking` for a decision and `notices` of what happened, on which `occasion`, and how a `letter` becomes MIME."""
