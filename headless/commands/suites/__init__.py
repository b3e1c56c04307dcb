"""The command `bench transition --suite`: a workflow's videos of a suite of episodes, plain and treated, measured."""
