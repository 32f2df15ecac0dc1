"""From files to batches: safe decoding, the dataset folder, views, the sampler and the loader.

Read in this order: `read` (one file → one RGB image), `dataset` (any source → rows), `views` (which crop), `sampler` (which rows),
`loader` (batches). Nothing is imported here, so that reading a list does not import torch.
"""
