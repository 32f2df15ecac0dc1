"""What a model says about each place of an image: segmentation, depth and detection by a small head over its grids."""
