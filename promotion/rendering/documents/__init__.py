"""View data as plain documents, shared by pages, mails, JSON and the terminal.

`approval_request` is the page of one approval request, `board` the board, `overviews` a group and a version; the rest are
their parts: the package's `card`, the run's `evidence`, the `story` of the events, `charts` in SVG and what a run `costs`.
"""
