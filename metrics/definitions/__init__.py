"""The metrics, a file each: how they follow from curves and features, and from all that is known of a switch."""
