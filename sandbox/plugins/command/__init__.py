"""Stand-in for ``pulumi-resource-command`` 1.2.1: remote commands and file copies over SSH."""
