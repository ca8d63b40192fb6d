"""The embedded platform: a real cluster, edge hosts and doubles of the outside services on one Linux machine."""
