"""Checks of `promotion doctor` against AWS and the identity provider."""
