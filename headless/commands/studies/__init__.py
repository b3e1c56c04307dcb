"""The studies of `bench transition --study` and what they have in common."""
