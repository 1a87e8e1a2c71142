"""Addresses of container images. Standard library only: the inference image compares them too."""

from __future__ import annotations


def repository(image: str) -> str:
    """Return an image's address without its tag and digest."""
    place, slash, name = image.partition("@")[0].rpartition("/")
    # A colon before the last slash is a registry's port.
    return f"{place}{slash}{name.partition(':')[0]}"


def is_image(image: str, own: str) -> bool:
    """Return True if an image is the one at `own`, with any tag or digest."""
    return bool(own) and repository(image) == repository(own)
