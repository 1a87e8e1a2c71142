"""The rules: pure functions over values, without AWS and without a clock of their own."""
