"""The report of a pull request on one stack: what changes, and what the proofs say before and after."""
