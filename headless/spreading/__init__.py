"""Many runs side by side: units of work, the places that do them, and what happens when a place is gone."""
