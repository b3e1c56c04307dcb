"""One pass over a video: features, detections, motion and what is kept of the frames."""
