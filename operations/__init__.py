"""Commands an operator runs beside ``pulumi``: each reads first, says what it would do, and is safe to run again."""
