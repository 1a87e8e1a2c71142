"""The ledger's table in DynamoDB, its anchors, and the verification of both."""
