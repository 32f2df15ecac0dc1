"""The store: teacher outputs on disk, computed once and certain to be those that the teacher would give now.

    store/
      images.jsonl                                what the key of each file was, so that files need not be hashed twice
      NAME-TEACHER-VIEWS-PRECISION/               one teacher's outputs of one kind of view (see folder.py)
        about.json                                teacher, fingerprint, views, widths
        HEAD-WHOLE.safetensors                    shards, named by the hashes of their content (see shard.py)

An output is found by (teacher fingerprint, geometry of views, seed, key of the image's bytes, view index), so a store survives data that
are renamed, moved or joined, and cannot be mistaken for that of another teacher, size, normalisation or crop. What cannot be right
is not offered: there is no mirrored or cut feature grid, only outputs for the very view.
"""
