"""What can only be known from the live cluster and hosts, compared with the stack file; it changes nothing."""
