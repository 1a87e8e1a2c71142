"""The inference pipeline: load an approved model, answer records with it, score the answers.

What it speaks, and how it is called, is in docs/inference.md.
"""

import os

# Before torch is loaded, which reads them once. It keeps a compiled kernel for each shape that it has met, up to 1,024 of
# them in two caches: over texts of all lengths that grows by 100 MB. 64 are as fast, and memory stays flat.
for _cache in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
    os.environ.setdefault(_cache, "64")
