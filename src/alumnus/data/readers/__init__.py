"""Every layout of images and what is known of them → rows: `sources` finds the reader that fits."""
