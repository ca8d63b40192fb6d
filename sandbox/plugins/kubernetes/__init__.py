"""Stand-in for ``pulumi-resource-kubernetes`` 4.34: the kinds the program uses, against a real API server."""
